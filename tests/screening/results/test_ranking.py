from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.results.ranking import Groups, check_sort, rank
from screening.status import Status


def columns(energies, *, status=None, in_domain=None):
    n = len(energies)
    return {
        "status": np.full(n, Status.OK, dtype=np.uint8) if status is None else np.array(status, dtype=np.uint8),
        "species": np.zeros((n, 5), dtype=np.uint8),
        "e_above_hull": np.array(energies, dtype=np.float32),
        "p_stable": -np.array(energies, dtype=np.float32),
        "in_domain": np.ones(n, dtype=bool) if in_domain is None else np.array(in_domain),
    }


def test_the_smallest_energy_ranks_first_and_ties_go_by_index():
    ranking = rank([(0, columns([0.3, 0.1])), (2, columns([0.1, 0.2]))])
    assert ranking.rows["index"].tolist() == [1, 2, 3, 0]


def test_candidates_out_of_domain_rank_last_and_are_counted():
    ranking = rank([(0, columns([0.0, 0.2, 0.1], in_domain=[False, True, True]))])
    assert ranking.rows["index"].tolist() == [2, 1, 0]
    assert ranking.out_of_domain == 1


def test_candidates_whose_anions_were_never_together_are_counted_where_they_are_in_domain():
    rows = columns([0.0, 0.2, 0.1], in_domain=[False, True, True])
    ranking = rank([(0, rows | {"domain_distance": np.array([2.0, 0.5, 0.0], dtype=np.float32)})])
    assert ranking.rows["index"].tolist() == [2, 1, 0]
    assert (ranking.out_of_domain, ranking.new_anions) == (1, 1)


def test_filtered_and_failed_candidates_are_not_ranked():
    status = [Status.OK, Status.FAILED, Status.FILTERED, Status.OK]
    ranking = rank([(10, columns([0.3, 0.0, 0.0, 0.1], status=status))])
    assert ranking.rows["index"].tolist() == [13, 10]
    assert ranking.ranked == 2


def test_probabilities_rank_from_the_largest():
    ranking = rank([(0, columns([0.3, 0.1, 0.2]))], sort="p_stable")
    assert ranking.rows["index"].tolist() == [1, 2, 0]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_top_is_the_head_of_the_full_ranking(energies):
    starts = np.cumsum([0, *map(len, energies)])
    blocks = [(int(start), columns(block)) for start, block in zip(starts, energies, strict=False)]
    full, top = rank(blocks), rank(blocks, top=4)
    assert top.rows["index"].tolist() == full.rows["index"].tolist()[:4]
    assert top.ranked == full.ranked


def test_probabilities_that_are_all_the_same_rank_by_energy():
    rows = columns([0.3, 0.1, 0.2]) | {"p_stable": np.ones(3, dtype=np.float32)}
    assert rank([(0, rows)], sort="p_stable").rows["index"].tolist() == [1, 2, 0]


def test_nothing_to_rank_is_said():
    with pytest.raises(UserError, match="can be ranked"):
        rank([(0, columns([0.1], status=[Status.FAILED]))])


def test_an_unknown_column_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"`sort` beauty: no such column. Choose one of e_above_hull, tau"):
        check_sort("beauty", ["e_above_hull", "tau"])
    with pytest.raises(UserError, match=r"'up' is no direction. Write tau:asc or tau:desc"):
        check_sort("e_above_hull,tau:up", ["e_above_hull", "tau"])
    check_sort("tau:desc, e_above_hull", ["e_above_hull", "tau"])


def test_several_columns_decide_one_after_the_other():
    rows = columns([0.3, 0.1, 0.2, 0.0]) | {"tau": np.array([4, 3, 4, np.nan], dtype=np.float32)}
    assert rank([(0, rows)], sort="tau,e_above_hull").rows["index"].tolist() == [1, 2, 0, 3]
    assert rank([(0, rows)], sort="tau:desc, e_above_hull:desc").rows["index"].tolist() == [0, 2, 1, 3]
    assert rank([(0, rows)], sort="p_stable:asc").rows["index"].tolist() == [0, 2, 1, 3]


def test_only_the_best_of_each_element_are_kept():
    rows = columns([0.3, 0.1, 0.2, 0.0, 0.4, 0.5])
    rows["species"][:, 1] = [22, 22, 22, 40, 40, 72]
    assert rank([(0, rows)], groups=Groups((1,), 1)).rows["index"].tolist() == [3, 1, 5]
    assert rank([(0, rows)], groups=Groups((1,), 2)).rows["index"].tolist() == [3, 1, 2, 4, 5]
    assert rank([(0, rows)], top=2, groups=Groups((1,), 2)).rows["index"].tolist() == [3, 1]


def test_elements_of_a_group_may_be_in_any_order():
    rows = columns([0.3, 0.1])
    rows["species"][:, 1:3] = [[22, 40], [40, 22]]
    assert rank([(0, rows)], groups=Groups((1, 2), 1)).rows["index"].tolist() == [1]


@given(
    st.lists(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([22, 40, 72])), min_size=1, max_size=6), min_size=1)
)
def test_groups_do_not_depend_on_blocks(parts):
    blocks = []
    for part in parts:
        rows = columns([energy for energy, _ in part])
        rows["species"][:, 1] = [z for _, z in part]
        blocks.append((sum(len(rows["status"]) for _, rows in blocks), rows))
    whole = (0, {name: np.concatenate([rows[name] for _, rows in blocks]) for name in blocks[0][1]})
    groups = Groups((1,), 2)
    assert rank(blocks, groups=groups).rows["index"].tolist() == rank([whole], groups=groups).rows["index"].tolist()


def test_candidates_whose_domain_is_unknown_are_ranked_all_the_same():
    rows = columns([0.3, 0.1])
    del rows["in_domain"]
    ranking = rank([(0, rows)])
    assert ranking.rows["index"].tolist() == [1, 0]
    assert ranking.out_of_domain == 0


ODD = st.sampled_from([0.0, -0.0, 0.1, 0.2, float("nan"), float("inf")])


@given(
    st.lists(st.lists(st.tuples(ODD, ODD, st.booleans()), min_size=1, max_size=6), min_size=1, max_size=5),
    st.integers(1, 7),
    st.sampled_from(["p_stable", "p_stable:asc", "e_above_hull", "in_domain,p_stable"]),
)
def test_the_top_by_any_column_is_the_head_of_the_full_ranking(blocks, count, sort):
    starts = np.cumsum([0, *map(len, blocks)])
    some = []
    for start, block in zip(starts, blocks, strict=False):
        energies, chances, inside = zip(*block, strict=True)
        rows = columns(energies, in_domain=inside) | {"p_stable": np.array(chances, dtype=np.float32)}
        some.append((int(start), rows))
    full, top = rank(some, sort), rank(some, sort, top=count)
    assert top.rows["index"].tolist() == full.rows["index"].tolist()[:count]
    assert (top.ranked, top.out_of_domain) == (full.ranked, full.out_of_domain)


class Noting(Mapping):
    """Columns that note which of them are read."""

    def __init__(self, whole):
        self.whole, self.read = whole, set()

    def __getitem__(self, name):
        self.read.add(name)
        return self.whole[name]

    def __iter__(self):
        return iter(self.whole)

    def __len__(self):
        return len(self.whole)

    def __contains__(self, name):
        return name in self.whole


def test_of_blocks_without_a_row_at_the_top_only_what_decides_is_read():
    best, worse = Noting(columns([0.1, 0.2])), Noting(columns([0.3, 0.4]))
    none = Noting(columns([0.0], status=[Status.FILTERED]))
    assert rank([(0, best), (2, worse), (4, none)], top=2).rows["index"].tolist() == [0, 1]
    assert best.read == set(best)
    assert worse.read == {"status", "in_domain", "e_above_hull"}
    assert none.read == {"status"}
