"""Which rows are trained on, which choose the best epoch, which only measure."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.data.records import Record
    from cgcnn.training.recipe import TrainRecipe

PARTS = ("train", "validation", "test")
_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Split:
    """Parts of n rows.

    Attributes:
        part: (n,) int8, position in `PARTS`; -1 where a row is in none.
        text: How the rows were chosen, for the card.
    """

    part: NDArray[np.int8]
    text: str

    def rows(self, name: str) -> NDArray[np.int64]:
        """Positions of the rows of a part."""
        return np.flatnonzero(self.part == PARTS.index(name))

    def __post_init__(self) -> None:
        if not (self.part == 0).any():
            raise UserError(f"no training rows ({self.text}; {len(self.part)} rows)")


def everything(n: int) -> Split:
    """All of n rows for training."""
    return Split(np.zeros(n, dtype=np.int8), "all rows")


def by_share(usable: NDArray[np.bool_], shares: Sequence[float], seed: int) -> Split:
    """Rows drawn at random, by the shares of training, validation and test, in any unit.

    Args:
        usable: (n,) rows that may be in a part.
        shares: Three numbers.
        seed: Of the draw.
    """
    if len(shares) != 3 or min(shares) < 0 or sum(shares) <= 0:
        raise UserError(f"split {'/'.join(f'{s:g}' for s in shares)}: give three shares, such as 60/20/20")
    n = int(usable.sum())
    ends = np.round(np.cumsum(shares) / sum(shares) * n).astype(int)
    text = f"random {'/'.join(f'{s:g}' for s in shares)} split, seed {seed}"
    return _drawn(usable, np.diff(ends, prepend=0).tolist(), seed, text)


def by_size(usable: NDArray[np.bool_], sizes: Sequence[int], seed: int) -> Split:
    """Rows drawn at random, so many for training, validation and test; the others are in no part."""
    if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) > usable.sum():
        text = "/".join(str(s) for s in sizes)
        raise UserError(f"sizes {text}: give three numbers of rows, at most {usable.sum()} together")
    return _drawn(usable, sizes, seed, f"random split of {'/'.join(map(str, sizes))} rows, seed {seed}")


def nested(usable: NDArray[np.bool_], size: int, held: int, seed: int) -> Split:
    """So many rows for validation, as many for the test, and ``size`` for training, drawn at random.

    Only the training part depends on the size, and a larger one holds all rows of a smaller one.

    Raises:
        UserError: There are not so many usable rows.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    if not 0 < size <= len(order) - 2 * held:
        raise UserError(f"{size} training rows: give 1 to {len(order) - 2 * held}; {2 * held} of the rows are held out")
    part = np.full(len(usable), -1, dtype=np.int8)
    part[order[:held]], part[order[held : 2 * held]], part[order[2 * held : 2 * held + size]] = 2, 1, 0
    return Split(part, f"{size} training rows drawn at random, {held} for validation, seed {seed}")


def _drawn(usable: NDArray[np.bool_], sizes: Sequence[int], seed: int, text: str) -> Split:
    order = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    part = np.full(len(usable), -1, dtype=np.int8)
    start = 0
    for i, size in enumerate(sizes):
        part[order[start : start + size]] = i
        start += size
    return Split(part, text)


def by_column(usable: NDArray[np.bool_], name: str, values: Sequence[object], test: str | None) -> Split:
    """Rows by a column that says train, validation or test; or by a column of folds, of which ``test`` is one.

    With folds, the one after the test fold is for validation.

    Raises:
        UserError: No such fold, or a value that is no part.
    """
    texts = ["" if value is None else str(value).strip() for value in values]
    if test is None:
        wrong = sorted({text for text in texts if text and text.casefold() not in _NAMES})
        if wrong or not any(texts):
            said = f"holds {wrong[0]!r}" if wrong else "is empty"
            raise UserError(f"column {name} {said}; it must say train, validation or test, or pass `test_fold`")
        part = np.array([_NAMES.get(text.casefold(), -1) for text in texts], dtype=np.int8)
        return Split(np.where(usable, part, -1).astype(np.int8), f"parts by the column {name}")
    folds = sorted({text for text in texts if text}, key=lambda text: (len(text), text))
    if test not in folds or len(folds) < 2:
        raise UserError(f"`test_fold` {test}: column {name} has the folds {', '.join(folds) or 'none'}")
    validation = folds[(folds.index(test) + 1) % len(folds)] if len(folds) > 2 else None
    part = np.array([2 if t == test else 1 if t == validation else 0 if t else -1 for t in texts], dtype=np.int8)
    return Split(np.where(usable, part, -1).astype(np.int8), f"fold {test} of the column {name} as test part")


def folds(usable: NDArray[np.bool_], k: int, seed: int) -> list[Split]:
    """K splits of rows drawn at random into k folds: each is once the test part, the one after it for validation."""
    n = int(usable.sum())
    if not 3 <= k <= n:
        raise UserError(f"{k} folds of {n} rows: give at least 3, and no more than there are rows")
    fold = np.full(len(usable), -1)
    fold[np.random.default_rng(seed).permutation(np.flatnonzero(usable))] = np.arange(n) % k
    parts = [np.where(fold == i, 2, np.where(fold == (i + 1) % k, 1, 0)) for i in range(k)]
    text = f"{k} random folds, seed {seed}"
    return [Split(np.where(fold < 0, -1, part).astype(np.int8), text) for part in parts]


@dataclass(frozen=True)
class Division:
    """How the rows are to be split; None where one is not asked for.

    Attributes:
        split: Shares of training, validation and test rows, such as ``60/20/20``.
        sizes: Numbers of such rows.
        fold_column: Label that says train, validation or test, or names a fold.
        test_fold: The fold of the label to test on; validation is the one after.
        folds: K, for k-fold: each row is once in a test part.
    """

    split: str | None = None
    sizes: str | None = None
    fold_column: str | None = None
    test_fold: str | None = None
    folds: int | None = None

    def splits(self, usable: NDArray[np.bool_], labels: Sequence[Record], recipe: TrainRecipe) -> list[Split]:
        """The splits that are asked for; none where the recipe has a check of its own and nothing else is asked for.

        Args:
            usable: (n,) rows that may be in a part.
            labels: Of the n rows.
            recipe: Says the seed, and the shares and the check where nothing is asked for.

        Raises:
            UserError: What is asked for contradicts itself or does not fit the rows.
        """
        ways = ("split", "sizes", "fold_column", "folds")
        asked = [f"`{way}`" for way in ways if getattr(self, way) is not None]
        if len(asked) > 1:
            raise UserError(f"{' and '.join(asked)}: one way to split, please")
        if self.test_fold is not None and self.fold_column is None:
            raise UserError("`test_fold`: needs `fold_column`, the label that names the folds")
        if self.fold_column is not None:
            values = [record.get(self.fold_column) for record in labels]
            return [by_column(usable, self.fold_column, values, self.test_fold)]
        seed = recipe.fit.seed
        if self.folds is not None:
            return folds(usable, self.folds, seed)
        if self.sizes is not None:
            return [by_size(usable, _whole_numbers("sizes", self.sizes), seed)]
        if self.split is None and recipe.validation_folds:
            return []
        return [by_share(usable, _numbers("split", self.split or recipe.shares), seed)]


def _numbers(setting: str, text: str) -> list[float]:
    with suppress(ValueError):
        found = [float(part) for part in text.replace(",", "/").split("/")]
        if all(map(math.isfinite, found)):
            return found
    raise UserError(f"`{setting}` {text}: give three numbers, such as 60/20/20")


def _whole_numbers(setting: str, text: str) -> list[int]:
    found = [whole_number(part.strip()) for part in text.replace(",", "/").split("/")]
    if None in found:
        raise UserError(f"`{setting}` {text}: give three whole numbers, such as 6000/2000/2000")
    return [number for number in found if number is not None]
