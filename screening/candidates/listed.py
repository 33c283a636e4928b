"""Explicit candidates: a CSV file with a column for each site, as `screen list` takes it.

A run keeps them as records of its own: `[[atomic numbers], [texts of the other columns]]`, a line each.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, PROTOTYPES, Prototype
from screening.candidates.space import parse_elements
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from screening.candidates.multisets import Species

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


@dataclass(frozen=True)
class Listed:
    """The candidates of a file, in its order; repeats are kept.

    Attributes:
        prototype: Name of the prototype.
        columns: The columns that named the sites, each once.
        extra: Names of the file's other columns; they pass through to the results.
        records: A line each.
    """

    prototype: str
    columns: tuple[str, ...]
    extra: tuple[str, ...]
    records: Records

    @property
    def count(self) -> int:
        """How many candidates there are."""
        return len(self.records)

    def decode(self, start: int, stop: int) -> Species:
        """The candidates [start, stop): (n, n_sites) atomic numbers in the order of the sites, canonical.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        prototype = PROTOTYPES[self.prototype]
        rows = [json.loads(line)[0] for line in self.records.read(start, stop)]
        return prototype.canonical(np.array(rows, dtype=np.uint8).reshape(-1, len(prototype.sites)))

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """The texts of the other columns of these candidates, by index."""
        return {index: json.loads(line)[1] for index, line in self.records.pick(indices)} if self.extra else {}


def read_candidates(file: Path, prototype_name: str | None = None) -> Listed:
    """Read candidates from a CSV file.

    Args:
        file: With a header line.
        prototype_name: Whose sites the columns name, one column a site, or one for all X. By default the double
            perovskite where there is a column B', else the cubic one.

    Raises:
        UserError: There is no such prototype, the file cannot be read, columns or rows are missing, or a row has an
            unknown element (the line is named).
    """
    if prototype_name not in {None, *PROTOTYPES}:
        raise UserError(f"--prototype {prototype_name}: unknown; there is {', '.join(PROTOTYPES)}.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = tuple(reader.fieldnames or ())
            by_columns = DOUBLE_PEROVSKITE if "B'" in header else CUBIC_PEROVSKITE
            prototype = PROTOTYPES[prototype_name] if prototype_name else by_columns
            columns = _site_columns(header, prototype, str(file))
            extra = tuple(dict.fromkeys(name for name in header if name not in columns))
            records = draft(_lines(reader, columns, extra, str(file)))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}. Give a CSV file of candidates.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV file in UTF-8 ({error}). Give a CSV file of candidates.") from None
    if not len(records):
        raise UserError(f"{file}: no candidates below the header. Give one candidate a line.")
    return Listed(prototype.name, tuple(dict.fromkeys(columns)), extra, records)


def _lines(
    reader: csv.DictReader[str], columns: tuple[str, ...], extra: tuple[str, ...], source: str
) -> Iterator[bytes]:
    for row in reader:
        numbers = [
            NUMBERS.get(row[column] or "") or _number(row, column, reader.line_num, source) for column in columns
        ]
        if "B'" in columns and numbers[columns.index("B")] == numbers[columns.index("B'")]:
            where = f"{source}, line {reader.line_num}"
            raise UserError(f"{where}: {row['B']} on both B and B'. That is an ABX3: list it as one.")
        yield json.dumps([numbers, [row[name] or "" for name in extra]], separators=(",", ":")).encode()


def _site_columns(header: tuple[str, ...], prototype: Prototype, source: str) -> tuple[str, ...]:
    """The column that names the element of each site."""
    sites, roles = prototype.sites, prototype.roles
    # X may stand for X1, X2 and X3; but B, itself a site, does not for B'.
    shared = tuple(site if role in sites else role for site, role in zip(sites, roles, strict=True))
    for columns in (sites, shared):
        if set(columns) <= set(header):
            return columns
    wanted = " or ".join(dict.fromkeys(",".join(dict.fromkeys(columns)) for columns in (shared, sites)))
    raise UserError(f"{source}: its columns are {','.join(header) or 'none'}; {prototype.name} needs {wanted}.")


def _number(row: dict[str, str], column: str, line: int, source: str) -> int:
    """The atomic number of a symbol with blanks around it, or an error that names it."""
    try:
        (number,) = parse_elements([row[column] or ""])
    except UserError as error:
        raise UserError(f"{source}, line {line}, column {column}: {error}") from None
    return number
