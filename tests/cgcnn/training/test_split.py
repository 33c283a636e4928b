"""Parts of the rows: disjoint, complete, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from cgcnn.training.data import Division, Split, by_column, by_share, by_size, folds
from cgcnn.training.recipe import plain_recipe

properties = settings(max_examples=40, deadline=None, derandomize=True)
usable_rows = st.lists(st.booleans(), min_size=5, max_size=60).filter(lambda rows: sum(rows) >= 5)


def sizes(split: Split) -> list[int]:
    return [len(split.rows(name)) for name in ("train", "validation", "test")]


@properties
@given(usable_rows, st.integers(0, 5))
def test_shares_cover_the_usable_rows_and_no_other(rows: list[bool], seed: int) -> None:
    usable = np.array(rows)
    split = by_share(usable, [60, 20, 20], seed)
    assert ((split.part >= 0) == usable).all()
    assert sizes(split) == pytest.approx(np.array([0.6, 0.2, 0.2]) * usable.sum(), abs=1)
    assert (split.part == by_share(usable, [0.6, 0.2, 0.2], seed).part).all()


def test_the_seed_decides() -> None:
    usable = np.ones(100, dtype=bool)
    assert (by_share(usable, [3, 1, 1], 0).part != by_share(usable, [3, 1, 1], 1).part).any()


@properties
@given(usable_rows, st.integers(3, 5))
def test_every_row_is_in_the_test_part_of_one_fold(rows: list[bool], k: int) -> None:
    usable = np.array(rows)
    parts = np.array([split.part for split in folds(usable, k, 0)])
    for part in range(3):
        expected = {0: k - 2, 1: 1, 2: 1}[part]
        assert ((parts == part).sum(axis=0)[usable] == expected).all()
    assert (parts[:, ~usable] == -1).all()


@pytest.mark.parametrize("text", ["²/1/1", "inf/1/1", "nan/1/1", "1.5/1/1", "-1/1/1", f"{'9' * 5000}/1/1", ""])
def test_sizes_that_are_no_whole_numbers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="give three whole numbers"):
        Division(sizes=text).splits(np.ones(10, dtype=np.bool_), [{}] * 10, plain_recipe("m", "d", ["e"], []))
    if text in {"inf/1/1", "nan/1/1"}:
        with pytest.raises(UserError, match="give three numbers"):
            Division(split=text).splits(np.ones(10, dtype=np.bool_), [{}] * 10, plain_recipe("m", "d", ["e"], []))


def test_sizes_leave_the_others_out() -> None:
    usable = np.arange(20) != 3
    split = by_size(usable, [5, 2, 4], seed=1)
    assert sizes(split) == [5, 2, 4]
    assert split.part[3] == -1


def test_column_of_parts() -> None:
    values = ["train", "Test", None, "val", "", "train"]
    split = by_column(np.array([True] * 5 + [False]), "part", values, None)
    assert split.part.tolist() == [0, 2, -1, 1, -1, -1]


@pytest.mark.parametrize(("test", "part"), [("0", [2, 1, 0, 0, -1]), ("10", [1, 0, 0, 2, -1]), ("2", [0, 0, 2, 1, -1])])
def test_column_of_folds(test: str, part: list[int]) -> None:
    split = by_column(np.ones(5, dtype=bool), "fold", [0, 1, 2, 10, None], test)
    assert split.part.tolist() == part


def test_two_folds_leave_none_for_validation() -> None:
    assert by_column(np.ones(3, dtype=bool), "fold", ["a", "b", "a"], "b").part.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda rows: by_share(rows, [60, 20], 0), "60/20: give three"),
        (lambda rows: by_share(rows, [-1, 1, 1], 0), "give three"),
        (lambda rows: by_share(rows, [0, 1, 1], 0), "no training rows"),
        (lambda rows: by_size(rows, [8, 1, 2], 0), "at most 10"),
        (lambda rows: folds(rows, 11, 0), "11 folds of 10 rows"),
        (lambda rows: by_column(rows, "part", ["some"] * 10, None), "'some'"),
        (lambda rows: by_column(rows, "part", [None] * 10, None), "is empty"),
        (lambda rows: by_column(rows, "fold", [1, 2] * 5, "3"), "has the folds 1, 2"),
    ],
)
def test_impossible_splits_are_refused(split, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(np.ones(10, dtype=bool))
