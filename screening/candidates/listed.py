"""Candidates from a table with a column for each site, as `screen list` takes it.

A run keeps its own copy of them, a record a row: `[[atomic numbers], [texts of the other columns]]`, or for a row that
is no candidate `[[], [texts], reason]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cgcnn.data.composition import site_columns
from cgcnn.data.tables import open_table
from cgcnn.elements import SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from screening.candidates.compositions import Compositions
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from cgcnn.data.tables import Row, TextTable
    from screening.candidates.compositions import Species

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


@dataclass(frozen=True)
class Listed(Compositions):
    """The candidates of a file, in its order; repeated rows stay, and rows that are no candidates stay to fail.

    Attributes:
        name_columns: The sites that columns of the file name, each once, whatever the file calls them.
        text_columns: Names of the file's other columns, which pass through to the results.
        records: A line for each row.
    """

    name_columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    records: Records
    kind: ClassVar[str] = "list"

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any], records: Records) -> Self:
        """Make the candidates of a definition, with the records of the run."""
        return cls(definition["prototype"], tuple(definition["columns"]), tuple(definition["extra"]), records)

    @property
    def definition(self) -> dict[str, Any]:
        """Prototype and columns of the file."""
        return {"prototype": self.prototype, "columns": list(self.name_columns), "extra": list(self.text_columns)}

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.records)

    def decode(self, start: int, stop: int) -> Species:
        """Return the candidates [start, stop): (n, n_sites) atomic numbers in the order of the sites, canonical.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        sites = len(self.ideal.sites)
        rows = [json.loads(line)[0] or [0] * sites for line in self.records.read(start, stop)]
        return self.ideal.canonical(np.array(rows, dtype=np.uint8).reshape(-1, sites))

    def unusable(self, start: int, stop: int) -> dict[int, str]:
        """Explain which rows of [start, stop) are no candidates: reasons, which name the file's line, by index.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        rows = enumerate((json.loads(line) for line in self.records.read(start, stop)), start)
        return {index: row[2] for index, row in rows if not row[0]}

    @property
    def mixes_anions(self) -> bool:
        """Whether some candidate has several elements on X."""
        step, on_x = self.grain.sifted, self.ideal.on_x
        parts = (self.decode(start, min(start + step, self.count))[:, on_x] for start in range(0, self.count, step))
        return any(bool((part != part[:, :1]).any()) for part in parts)

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """Read the texts of the other columns of these candidates, by index."""
        return {index: json.loads(line)[1] for index, line in self.records.pick(indices)}


def read_candidates(file: Path, prototype_name: str | None = None, *, strict: bool = False) -> Listed:
    """Read candidates from a table; see `cgcnn.data.tables`.

    A row that is no candidate (an unknown symbol, an empty cell, the same element on B and B', a cell beyond the
    header) stays, to fail with its reason. Symbols may be in lower case.

    Args:
        file: A table with a header line; see `cgcnn.data.composition.site_columns`.
        prototype_name: The prototype whose sites the columns name, one column a site, or one for all X. The default is
            the double perovskite if two columns name B, else the cubic one.
        strict: Refuse a file with such a row.

    Raises:
        UserError: The prototype is unknown; the file cannot be read; columns are missing, named twice, or look like a
            site that the prototype does not have; there are no rows; or, if strict, a row is no candidate.
    """
    if prototype_name not in {None, *PROTOTYPES}:
        raise UserError(f"`prototype` {prototype_name}: unknown; choose one of {', '.join(PROTOTYPES)}.")
    table = open_table(file)
    try:
        prototype, named = site_columns(table.header, PROTOTYPES[prototype_name] if prototype_name else None)
    except UserError as error:
        raise UserError(f"{file}: {error}. Its columns are {table.said}.{_headless(table)}") from None
    pairs = zip(prototype.sites, prototype.roles, strict=True)
    sites = tuple(site if site in named else role for site, role in pairs)  # X for X1, X2 and X3
    places = [table.header.index(named[site]) for site in sites]
    extra = [place for place in range(len(table.header)) if place not in places]
    records = draft(_lines(table, places, extra, strict=strict))
    if not len(records):
        raise UserError(f"{file}: no candidates below the header. Give one candidate a line.")
    return Listed(prototype.name, tuple(dict.fromkeys(sites)), tuple(table.header[place] for place in extra), records)


def _headless(table: TextTable) -> str:
    """Hint at a missing header if the first line seems to be a candidate."""
    first = all(name.capitalize() in NUMBERS for name in table.header)
    return " Name the columns in the first line." if first and table.header else ""


def _lines(table: TextTable, places: list[int], extra: list[int], *, strict: bool) -> Iterator[bytes]:
    """Write a record for each row; if strict, raise at the first row that is no candidate.

    Args:
        table: The candidates.
        places: The column of each site.
        extra: The other columns.
        strict: Whether to refuse such a row.
    """
    for row in table.rows:
        texts: list[Any] = [[row.cells[place] for place in extra]]
        try:
            record = [_candidate(table, row, places), *texts]
        except UserError as error:
            reason = str(error)
            if strict:
                raise UserError(f"{table.source}, {reason}") from None
            record = [[], *texts, reason]
        yield json.dumps(record, separators=(",", ":")).encode()


def _candidate(table: TextTable, row: Row, places: list[int]) -> list[int]:
    """Read the atomic numbers of a row.

    Raises:
        UserError: It is no candidate; the message begins with the number of the line.
    """
    if row.fault:
        raise UserError(row.fault)
    numbers = [NUMBERS.get(row.cells[place]) or _number(table, row, place) for place in places]
    if len(places) == 4 and numbers[1] == numbers[2]:
        raise UserError(f"line {row.line}: {SYMBOLS[numbers[1]]} on both B and B'. That is an ABX3: list it as one.")
    return numbers


def _number(table: TextTable, row: Row, place: int) -> int:
    """Read a symbol that has blanks around it or is in lower case."""
    symbol = row.cells[place].strip()
    try:
        return atomic_number(symbol.capitalize() if symbol.islower() else symbol)
    except UserError as error:
        raise UserError(f"line {row.line}, column {table.header[place]}: {error}") from None
