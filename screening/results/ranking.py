"""The ranking: the best candidates of a run, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DESCENDING = frozenset({"p_stable", "in_domain", "charge_balanced", "known"})
"""Columns whose largest value ranks first; all others rank from the smallest."""

Rows = dict[str, np.ndarray]


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


def rank(blocks: Iterable[tuple[int, Rows]], sort: str = "e_above_hull", top: int | None = None) -> Ranking:
    """Rank the scored candidates of a run.

    Candidates in the model's domain come first, where the run knows it; then the sorted column decides, then the
    energy, then the index. With `top`, memory holds that many rows and one block.

    Args:
        blocks: (index of the first row, `status` and the columns to keep) of each block.
        sort: The column that decides; one of those.
        top: How many to keep; None keeps all.

    Raises:
        UserError: No candidate can be ranked.
    """
    best: list[Rows] = []
    ranked = out_of_domain = new_anions = 0
    for rows in _scored(blocks):
        ranked += len(rows["index"])
        out_of_domain += int(np.count_nonzero(_outside(rows)))
        new_anions += int(np.count_nonzero(_new_anions(rows)))
        best.append(rows)
        if top:
            best = [_ordered(_joined(best), sort, top)]
    if not best:
        raise UserError("No candidate of this run can be ranked: all were filtered or failed.")
    return Ranking(_ordered(_joined(best), sort, top), ranked, out_of_domain, new_anions)


def check_sort(sort: str, names: Sequence[str]) -> None:
    """Refuse a column that a ranking does not have.

    Raises:
        UserError: Naming the columns that there are.
    """
    if sort not in names:
        raise UserError(f"`sort` {sort}: no such column. Choose one of {', '.join(names)}.")


def _scored(blocks: Iterable[tuple[int, Rows]]) -> Iterator[Rows]:
    for start, columns in blocks:
        kept = np.flatnonzero(columns["status"] == Status.OK)
        if len(kept):
            yield {"index": kept + start} | {name: values[kept] for name, values in columns.items()}


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ordered(rows: Rows, sort: str, top: int | None) -> Rows:
    key = rows[sort].astype(np.float64)
    key = -key if sort in DESCENDING else key
    order = np.lexsort((rows["index"], rows["e_above_hull"], key, _outside(rows)))[:top]
    return {name: values[order] for name, values in rows.items()}


def _outside(rows: Rows) -> np.ndarray:
    """(n,) whether the model is known not to know a candidate's elements."""
    return ~rows["in_domain"] if "in_domain" in rows else np.zeros(len(rows["index"]), dtype=bool)


def _new_anions(rows: Rows) -> np.ndarray:
    """(n,) whether each of a candidate's elements is known on its site, but not those on X together."""
    distance = rows.get("domain_distance", np.zeros(len(rows["index"])))
    return ~_outside(rows) & (distance > 0)
