import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from screening.results import sorting
from screening.results.ranking import rank, scored
from screening.status import Status

VALUES = st.sampled_from([-1.5, -0.0, 0.0, 1e-30, 0.1, 0.2, 7.0, float("nan"), float("inf"), float("-inf")])


def blocks_of(rows, sizes):
    start = 0
    for size in sizes:
        part = rows[start : start + size]
        energy, tau, inside = zip(*part, strict=True) if part else ((), (), ())
        yield (
            start,
            {
                "status": np.full(len(part), Status.OK, dtype=np.uint8),
                "species": np.arange(5 * len(part), dtype=np.uint8).reshape(-1, 5),
                "e_above_hull": np.array(energy, dtype=np.float32),
                "tau": np.array(tau, dtype=np.float32),
                "p_stable": np.array(tau, dtype=np.float32),
                "in_domain": np.array(inside, dtype=bool),
            },
        )
        start += size


@pytest.mark.parametrize("sort", ["e_above_hull", "tau", "p_stable", "in_domain"])
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, st.booleans()), min_size=1, max_size=60),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    stretch=st.integers(1, 25),
)
def test_a_sort_through_a_file_is_the_ranking(tmp_path_factory, sort, rows, sizes, stretch):
    least, sorting.LEAST = sorting.LEAST, 1
    sizes = [*sizes, max(len(rows) - sum(sizes), 0)]
    whole = rank(blocks_of(rows, sizes), sort).rows
    parts = list(sorting.sort_rows(scored(blocks_of(rows, sizes)), sort, tmp_path_factory.getbasetemp(), stretch))
    sorting.LEAST = least
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
