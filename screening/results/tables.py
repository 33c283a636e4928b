"""A ranking as text: the rows of the ranked CSV, the CSV itself, CIF files."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import csv_line, write_whole
from screening.candidates.columns import DECIMALS, split_ranked
from screening.results.lines import csv_lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from screening.candidates.kind import Candidates
    from screening.results.ranking import Ranking, Rows

CIF_NAME = re.compile(r"[0-9]{4,}-.*-[0-9]+(-[abc0+-]{6})?\.(cif|vasp)")
"""Names of the CIF and POSCAR files of a ranking: rank, formula, index, and tilts if there are any."""


def table_rows(ranking: Ranking, candidates: Candidates, count: int | None = None) -> Iterator[dict[str, str]]:
    """The rows of the ranked CSV as text, in order of rank; columns of a candidate file come last.

    Args:
        ranking: What to write.
        candidates: Those of the run; they say what names a candidate, and which texts pass through.
        count: How many rows; None for all.
    """
    texts = candidates.texts(ranking.rows["index"][:count].tolist())
    for i, (index, row) in enumerate(ranked_rows(ranking, count)):
        given = texts.get(index, [])
        told = {"rank": str(i + 1), "index": str(index), **candidates.name(row, given)}
        values, last = (
            {column.name: text_of(column.name, row[column.name]) for column in columns}
            for columns in split_ranked(candidates.ranked)
        )
        told |= values | candidates.remarks(row) | last
        further = zip(candidates.text_columns, given, strict=False)
        yield told | {free(name, told): text for name, text in further if name not in candidates.name_columns}


def csv_columns(candidates: Candidates) -> list[str]:
    """The columns of the ranked CSV."""
    values, last = ([column.name for column in columns] for columns in split_ranked(candidates.ranked))
    told = ["rank", "index", "formula", *candidates.name_columns, *values, *candidates.remark_columns, *last]
    return told + [free(name, told) for name in candidates.text_columns if name not in candidates.name_columns]


def ranked_rows(ranking: Ranking, count: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and row of each candidate, in order of rank; `count` of them, or all."""
    for i, index in enumerate(ranking.rows["index"][:count].tolist()):
        yield index, {name: values[i] for name, values in ranking.rows.items()}


def write_ranking(batches: Iterable[Rows], candidates: Candidates, path: Path) -> None:
    """Write the ranked CSV; it appears whole or not at all. Memory holds one batch.

    Args:
        batches: Rows in order of rank.
        candidates: Those of the run.
        path: The file to write.

    Raises:
        UserError: The file cannot be written.
    """
    write_whole(path, chain([csv_line(csv_columns(candidates))], csv_lines(batches, candidates)))


def write_cifs(ranking: Ranking, candidates: Candidates, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank, formula and index.

    They have the predicted lattice constant; structures are written as they were given.

    Raises:
        UserError: The directory or a file in it cannot be written, or there are CIF files of another ranking in it.
    """
    rows = list(ranked_rows(ranking, count))
    names = [f"{i + 1:04d}-{candidates.name(row, [''])['formula']}-{index}.cif" for i, (index, row) in enumerate(rows)]
    try:
        refuse_other_cifs(directory, set(names))
        directory.mkdir(parents=True, exist_ok=True)
        for name, (_, row) in zip(names, rows, strict=True):
            write_whole(directory / name, candidates.cif(row))
    except OSError as error:
        raise UserError(f"`cif` {directory}: cannot be written: {error.strerror}.") from None


def refuse_other_cifs(directory: Path, names: set[str], setting: str = "cif") -> None:
    """Refuse a directory with the files of another ranking, which nobody could tell from those with these names.

    Raises:
        UserError: Naming one of them.
    """
    there = (path.name for path in directory.iterdir()) if directory.is_dir() else iter(())
    if others := sorted(name for name in there if CIF_NAME.fullmatch(name) and name not in names):
        kind = others[0].rpartition(".")[2].upper().replace("VASP", "POSCAR")
        raise UserError(
            f"`{setting}` {directory}: holds {len(others)} {kind} files of another ranking, such as {others[0]}. "
            "Name another directory, or empty this one."
        )


def text_of(name: str, value: np.generic) -> str:
    """A value of a column as the CSV has it; empty where there is none."""
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    return "" if np.isnan(value) else f"{value:.{DECIMALS[name]}f}"


def free(name: str, taken: Collection[str]) -> str:
    """A column name that does not hide one of ours."""
    return f"input_{name}" if name in taken else name
