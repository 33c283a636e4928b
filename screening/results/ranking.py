"""The ranking: the best candidates of a run, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DESCENDING = frozenset({"p_stable", "in_domain", "charge_balanced", "in_training", "redox", "p_perovskite"})
"""Columns whose largest value ranks first unless asked otherwise; all others rank from the smallest."""

DIRECTIONS = {"asc": False, "desc": True}
"""What may follow a column, after a colon -> whether its largest value ranks first."""

Rows = dict[str, np.ndarray]
Columns = Mapping[str, np.ndarray]
"""Rows whose columns may be read only when they are asked for."""


@dataclass(frozen=True)
class Ranking:
    """Candidates in order of rank.

    Attributes:
        rows: Column name -> array of n rows; `index` holds the candidates' integers.
        ranked: How many candidates of the run could be ranked (n, unless only the top was asked for).
        out_of_domain: How many of these have an element on a site where the model never saw it, where that is known.
        new_anions: How many of the others have elements on X that the model never saw together.
    """

    rows: Rows
    ranked: int
    out_of_domain: int
    new_anions: int


@dataclass(frozen=True)
class Groups:
    """The few best of each kind, for picks that are not alike.

    Attributes:
        sites: Columns of `species` whose elements, in any order, make a kind.
        size: How many of each to keep.
    """

    sites: tuple[int, ...]
    size: int


def rank(
    blocks: Iterable[tuple[int, Columns]],
    sort: str = "e_above_hull",
    top: int | None = None,
    groups: Groups | None = None,
) -> Ranking:
    """Rank the scored candidates of a run.

    Candidates in the model's domain come first, where the run knows it; then the sorted columns decide, then the
    energy, then the index. With `top`, memory holds that many rows and one block, and of a block none of whose rows is
    among them only the columns that decide are read; with groups, memory holds the best of each.

    Args:
        blocks: (index of the first row, `status` and the columns to keep) of each block.
        sort: The columns that decide, the first one first, separated by commas; see `check_sort`.
        top: How many to keep; None keeps all.
        groups: Keep only the best of each kind.

    Raises:
        UserError: No candidate can be ranked.
    """
    best: list[Columns] = []
    counts = Counts()
    for rows in counts.watch(scored(blocks)):
        if groups or not (top and best):
            best.append(rows)
        elif len(better := _better(rows, best[0], sort, top)):
            best.append({name: values[better] for name, values in rows.items()})
        if top or groups:
            best = [_ordered(_joined(best), sort, top, groups)]
    return counts.ranking(_ordered(_joined(best), sort, top, groups))


@dataclass
class Counts:
    """Counts of the rows that a ranking is made of; as in `Ranking`."""

    ranked: int = 0
    out_of_domain: int = 0
    new_anions: int = 0

    def watch(self, batches: Iterable[Columns]) -> Iterator[Columns]:
        """The rows as they are, each counted on its way.

        Raises:
            UserError: There are none.
        """
        for rows in batches:
            self.ranked += len(rows["index"])
            self.out_of_domain += int(np.count_nonzero(_outside(rows)))
            self.new_anions += int(np.count_nonzero(_new_anions(rows)))
            yield rows
        if not self.ranked:
            raise UserError("No candidate of this run can be ranked: all were filtered or failed.")

    def ranking(self, rows: Rows) -> Ranking:
        """The ranking of which these are the rows that are kept."""
        return Ranking(rows, self.ranked, self.out_of_domain, self.new_anions)


def check_sort(sort: str, names: Sequence[str]) -> None:
    """Refuse columns that a ranking does not have.

    Args:
        sort: Columns separated by commas, each alone or with a direction, such as ``tau:desc,e_above_hull``.
        names: The columns that there are.

    Raises:
        UserError: One is no column, or has another direction than asc and desc; the columns are named.
    """
    for key in sort.split(","):
        column, given, direction = key.strip().partition(":")
        if column not in names:
            raise UserError(f"`sort` {column}: no such column. Choose one of {', '.join(names)}.")
        if given and direction not in DIRECTIONS:
            raise UserError(f"`sort` {sort}: {direction!r} is no direction. Write {column}:asc or {column}:desc.")


def scored(blocks: Iterable[tuple[int, Columns]]) -> Iterator[Columns]:
    """The rows that can be ranked, with their `index`, of blocks as `rank` takes them."""
    for start, columns in blocks:
        kept = np.flatnonzero(columns["status"] == Status.OK)
        if len(kept):
            yield Kept(columns, kept, start)


class Kept(Mapping[str, np.ndarray]):
    """Some rows of a block, with their `index`; their columns are read when they are asked for."""

    def __init__(self, columns: Columns, kept: np.ndarray, start: int) -> None:
        self._columns, self._kept = columns, kept
        self._there = {"index": kept + start}

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, (n,) or (n, …)."""
        if name not in self._there:
            self._there[name] = self._columns[name][self._kept]
        return self._there[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(("index", *self._columns))

    def __len__(self) -> int:
        """How many columns there are."""
        return 1 + len(self._columns)

    def __contains__(self, name: object) -> bool:
        """Whether there is such a column; it is not read."""
        return name == "index" or name in self._columns


def _joined(parts: Sequence[Columns]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _better(rows: Columns, best: Columns, sort: str, top: int) -> np.ndarray:
    """Which rows, of later candidates, may be among the best so many, if those so far are `best`, in order."""
    keys, count = order_keys(rows, sort), len(rows["index"])
    if len(best["index"]) < top:
        return np.arange(count)
    before = np.zeros(count, dtype=bool)  # of two that are alike the earlier one stays
    for key, last in zip(reversed(keys), reversed(order_keys(best, sort)), strict=True):
        end, unknown = last[-1], np.isnan(key)
        less, same = (~unknown, unknown) if np.isnan(end) else (key < end, key == end)
        before = less | (same & before)
    return np.flatnonzero(before)


def _ordered(rows: Rows, sort: str, top: int | None, groups: Groups | None) -> Rows:
    order = np.lexsort((rows["index"], *reversed(order_keys(rows, sort))))
    if groups is not None:
        order = order[_place_in_kind(np.sort(rows["species"][order][:, groups.sites], axis=1)) < groups.size]
    return {name: values[order[:top]] for name, values in rows.items()}


def order_keys(rows: Columns, sort: str) -> list[np.ndarray]:
    """What decides about the order of rows, the most decisive first: arrays (n,) whose smallest value ranks first."""
    return [_outside(rows), *(_key(rows, key) for key in sort.split(",")), rows["e_above_hull"]]


def _key(rows: Columns, key: str) -> np.ndarray:
    """(n,) a column so that its smallest value ranks first; NaN ranks last."""
    column, _, direction = key.strip().partition(":")
    values = rows[column].astype(np.float64)
    return -values if DIRECTIONS.get(direction, column in DESCENDING) else values


def _place_in_kind(kinds: np.ndarray) -> np.ndarray:
    """(n,) how many rows before each are of its kind; kinds (n, k)."""
    _, kind = np.unique(kinds, axis=0, return_inverse=True)
    by_kind = np.argsort(kind, kind="stable")
    first = np.searchsorted(kind[by_kind], kind[by_kind])
    place = np.empty(len(kind), dtype=np.int64)
    place[by_kind] = np.arange(len(kind)) - first
    return place


def _outside(rows: Columns) -> np.ndarray:
    """(n,) whether the model is known not to know a candidate's elements."""
    return ~rows["in_domain"] if "in_domain" in rows else np.zeros(len(rows["index"]), dtype=bool)


def _new_anions(rows: Columns) -> np.ndarray:
    """(n,) whether each of a candidate's elements is known on its site, but not those on X together."""
    if "domain_distance" not in rows:
        return np.zeros(len(rows["index"]), dtype=bool)
    distance = rows["domain_distance"]
    return ~_outside(rows) & (distance > 0)
