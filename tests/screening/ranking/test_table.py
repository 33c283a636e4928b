import csv
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cgcnn.errors import UserError
from screening.candidates.space import Multiset, Space
from screening.ranking.table import Groups, check_sort, free
from screening.ranking.table import rank as rank_blocks
from screening.status import Status

properties = settings(deadline=None, max_examples=25)


class Ranked:
    """A ranking of blocks of columns, of which some may be missing."""

    def __init__(self, blocks, sort="e_above_hull", top=None, groups=None):
        blocks = list(blocks)
        plan = SimpleNamespace(candidates=SPACE)
        self.table = rank_blocks(lambda: blocks, plan, sort=sort, top=top, groups=groups)
        self.index = self.table.arrays("index")["index"].tolist()
        for name, value in vars(self.table.counts).items():
            setattr(self, name, value)


rank = Ranked
SPACE = Space("cubic-perovskite", (Multiset(range(1, 101), 1), Multiset(range(1, 101), 1), Multiset((8, 9), 1)))


def columns(energies, *, status=None, in_domain=None):
    n = len(energies)
    nothing = np.full(n, np.nan, dtype=np.float32)
    rest = {c.name: np.zeros(n, dtype=bool) if c.dtype == "bool" else nothing for c in SPACE.ranked}
    return rest | {
        "status": np.full(n, Status.OK, dtype=np.uint8) if status is None else np.array(status, dtype=np.uint8),
        "species": np.full((n, 5), 8, dtype=np.uint8),
        "charges": np.zeros((n, 5), dtype=np.int8),
        "e_above_hull": np.array(energies, dtype=np.float32),
        "p_stable": -np.array(energies, dtype=np.float32),
        "in_domain": np.ones(n, dtype=bool) if in_domain is None else np.array(in_domain),
    }


def test_the_smallest_energy_ranks_first_and_ties_go_by_index():
    ranking = rank([(0, columns([0.3, 0.1])), (2, columns([0.1, 0.2]))])
    assert ranking.index == [1, 2, 3, 0]


def test_candidates_out_of_domain_rank_last_and_are_counted():
    ranking = rank([(0, columns([0.0, 0.2, 0.1], in_domain=[False, True, True]))])
    assert ranking.index == [2, 1, 0]
    assert ranking.out_of_domain == 1


def test_candidates_whose_anions_were_never_together_are_counted_where_they_are_in_domain():
    rows = columns([0.0, 0.2, 0.1], in_domain=[False, True, True])
    ranking = rank([(0, rows | {"domain_distance": np.array([2.0, 0.5, 0.0], dtype=np.float32)})])
    assert ranking.index == [2, 1, 0]
    assert (ranking.out_of_domain, ranking.new_anions) == (1, 1)


def test_filtered_and_failed_candidates_are_not_ranked():
    status = [Status.OK, Status.FAILED, Status.FILTERED, Status.OK]
    ranking = rank([(10, columns([0.3, 0.0, 0.0, 0.1], status=status))])
    assert ranking.index == [13, 10]
    assert ranking.ranked == 2


def test_probabilities_rank_from_the_largest():
    ranking = rank([(0, columns([0.3, 0.1, 0.2]))], sort="p_stable")
    assert ranking.index == [1, 2, 0]


@properties
@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_top_is_the_head_of_the_full_ranking(energies):
    starts = np.cumsum([0, *map(len, energies)])
    blocks = [(int(start), columns(block)) for start, block in zip(starts, energies, strict=False)]
    full, top = rank(blocks), rank(blocks, top=4)
    assert top.index == full.index[:4]
    assert top.ranked == full.ranked


def test_probabilities_that_are_all_the_same_rank_by_energy():
    rows = columns([0.3, 0.1, 0.2]) | {"p_stable": np.ones(3, dtype=np.float32)}
    assert rank([(0, rows)], sort="p_stable").index == [1, 2, 0]


def test_nothing_to_rank_is_said():
    with pytest.raises(UserError, match="can be ranked"):
        rank([(0, columns([0.1], status=[Status.FAILED]))])


def test_an_unknown_column_is_refused_with_the_choices():
    with pytest.raises(UserError, match=r"`sort` beauty: no such column. Choose one of e_above_hull, tau"):
        check_sort("beauty", ["e_above_hull", "tau"])
    with pytest.raises(UserError, match=r"'up' is not a direction. Write tau:asc or tau:desc"):
        check_sort("e_above_hull,tau:up", ["e_above_hull", "tau"])
    check_sort("tau:desc, e_above_hull", ["e_above_hull", "tau"])


def test_several_columns_decide_one_after_the_other():
    rows = columns([0.3, 0.1, 0.2, 0.0]) | {"tau": np.array([4, 3, 4, np.nan], dtype=np.float32)}
    assert rank([(0, rows)], sort="tau,e_above_hull").index == [1, 2, 0, 3]
    assert rank([(0, rows)], sort="tau:desc, e_above_hull:desc").index == [0, 2, 1, 3]
    assert rank([(0, rows)], sort="p_stable:asc").index == [0, 2, 1, 3]


def test_only_the_best_of_each_element_are_kept():
    rows = columns([0.3, 0.1, 0.2, 0.0, 0.4, 0.5])
    rows["species"][:, 1] = [22, 22, 22, 40, 40, 72]
    assert rank([(0, rows)], groups=Groups((1,), 1)).index == [3, 1, 5]
    assert rank([(0, rows)], groups=Groups((1,), 2)).index == [3, 1, 2, 4, 5]
    assert rank([(0, rows)], top=2, groups=Groups((1,), 2)).index == [3, 1]


def test_elements_of_a_group_may_be_in_any_order():
    rows = columns([0.3, 0.1])
    rows["species"][:, 1:3] = [[22, 40], [40, 22]]
    assert rank([(0, rows)], groups=Groups((1, 2), 1)).index == [1]


@properties
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
    assert rank(blocks, groups=groups).index == rank([whole], groups=groups).index


ODD = st.sampled_from([0.0, -0.0, 0.1, 0.2, float("nan"), float("inf")])


@properties
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
    assert top.index == full.index[:count]
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
    assert rank([(0, best), (2, worse), (4, none)], top=2).index == [0, 1]
    assert best.read == set(best)
    assert worse.read == {"status", "in_domain", "domain_distance", "e_above_hull"}
    assert none.read == {"status"}


VALUES = st.sampled_from([-1.5, -0.0, 0.0, 1e-30, 0.1, 0.2, 7.0, float("nan"), float("inf"), float("-inf")])


@pytest.mark.parametrize("sort", ["e_above_hull", "tau", "p_stable", "in_domain,tau:desc"])
@properties
@given(rows=st.lists(st.tuples(VALUES, VALUES, st.booleans()), min_size=1, max_size=60), cut=st.integers(0, 60))
def test_the_order_is_that_of_a_sort_in_memory(sort, rows, cut):
    energy, tau, inside = (np.array(column) for column in zip(*rows, strict=True))
    whole = columns(energy, in_domain=inside) | {"tau": tau.astype(np.float32), "p_stable": tau.astype(np.float32)}
    parts = [(at, {k: v[at:to] for k, v in whole.items()}) for at, to in ((0, cut), (cut, len(rows))) if at < to]
    keys = {"e_above_hull": energy, "tau": tau, "p_stable": -tau, "in_domain,tau:desc": -tau}[sort]
    keys = [np.float32(key) + np.float32(0) for key in (energy, keys)]
    expected = np.lexsort((*keys, ~inside)).tolist()
    assert rank(parts, sort=sort).index == expected
    assert rank(parts, sort=sort, top=9).index == expected[:9]


def test_names_of_columns_that_differ_in_case_alone_hide_nothing():
    taken = {"a", "formula"}
    assert free("Formula", taken) == "input_Formula"
    assert free("note", taken) == "note"


def test_numbers_have_their_decimals_as_text_and_nothing_where_there_is_none(tmp_path):
    rows = columns([0.123456, -0.2, float("nan")]) | {"tau": np.array([3.14159, 1e6, np.nan], dtype=np.float32)}
    table = rank([(0, rows)]).table
    assert [row["e_above_hull"] for row in table.texts()] == ["-0.20000", "0.12346", ""]
    assert [row["tau"] for row in table.texts(2)] == ["1000000.0000", "3.1416"]
    table.write_csv(tmp_path / "R.csv")
    with (tmp_path / "R.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == table.texts()
    table.write_parquet(tmp_path / "R.parquet")
    assert parquet.read_table(tmp_path / "R.parquet").column("tau").to_pylist()[1] == np.float32(3.14159)
    assert list(tmp_path.glob(".*")) == []


def test_a_query_sees_every_column_of_the_ranking():
    table = rank([(0, columns([0.3, 0.1, float("nan")]))]).table
    found = table.query("SELECT rank, formula, e_above_hull FROM candidates WHERE e_above_hull < 0.2")
    assert found.to_pylist() == [{"rank": 1, "formula": "O5", "e_above_hull": pytest.approx(0.1)}]
    assert table.query("SELECT avg(e_above_hull) AS mean FROM candidates")["mean"].to_pylist() == [pytest.approx(0.2)]
    for wrong in ("SELECT nonsense FROM candidates", "SELEC", "SET threads = 1"):
        with pytest.raises(UserError, match=wrong.split()[0]):
            table.query(wrong)
