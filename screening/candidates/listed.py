"""Explicit candidates: a table with a column for each site, as `screen list` takes it.

A run keeps them as records of its own: `[[atomic numbers], [texts of the other columns]]`, a line each; for a row that
is no candidate `[[], [texts], reason]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cgcnn.data.composition import site_columns
from cgcnn.data.tables import open_table
from cgcnn.elements import SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from screening.candidates.compositions import OnPrototype
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from cgcnn.data.tables import Row, TextTable
    from screening.candidates.multisets import Species
    from screening.candidates.notes import Notes

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


@dataclass(frozen=True)
class Listed(OnPrototype):
    """The candidates of a file, in its order; repeats are kept, and rows that are no candidates, to fail.

    Attributes:
        prototype: Name of the prototype.
        name_columns: The sites that columns of the file name, each once; whatever the file calls them.
        text_columns: Names of the file's other columns; they pass through to the results.
        records: A line each.
        notes: What others have of these compositions, for rankings.
    """

    prototype: str
    name_columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    records: Records
    notes: tuple[Notes, ...] = field(default=(), compare=False)
    kind: ClassVar[str] = "list"

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any], records: Records) -> Self:
        """The candidates of a definition, with the records of the run."""
        return cls(definition["prototype"], tuple(definition["columns"]), tuple(definition["extra"]), records)

    @property
    def definition(self) -> dict[str, Any]:
        """Prototype and columns of the file."""
        return {"prototype": self.prototype, "columns": list(self.name_columns), "extra": list(self.text_columns)}

    @property
    def count(self) -> int:
        """How many candidates there are."""
        return len(self.records)

    def decode(self, start: int, stop: int) -> Species:
        """The candidates [start, stop): (n, n_sites) atomic numbers in the order of the sites, canonical.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        sites = len(self.ideal.sites)
        rows = [json.loads(line)[0] or [0] * sites for line in self.records.read(start, stop)]
        return self.ideal.canonical(np.array(rows, dtype=np.uint8).reshape(-1, sites))

    def unusable(self, start: int, stop: int) -> dict[int, str]:
        """Index -> reason of each of the rows [start, stop) that is no candidate; the line of the file is named.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        rows = enumerate((json.loads(line) for line in self.records.read(start, stop)), start)
        return {index: row[2] for index, row in rows if not row[0]}

    def noted(self, *notes: Notes) -> Self:
        """The same candidates with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def mixes_anions(self) -> bool:
        """Whether some candidate has several elements on X."""
        step, on_x = self.grain.sifted, self.ideal.on_x
        parts = (self.decode(start, min(start + step, self.count))[:, on_x] for start in range(0, self.count, step))
        return any(bool((part != part[:, :1]).any()) for part in parts)

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """The texts of the other columns of these candidates, by index."""
        return {index: json.loads(line)[1] for index, line in self.records.pick(indices)}


def read_candidates(file: Path, prototype_name: str | None = None, *, strict: bool = False) -> Listed:
    """Read candidates from a table; see `cgcnn.data.tables`.

    A row that is no candidate (an unknown symbol, an empty cell, the same element on B and B', a cell beyond the
    header) is kept, to fail with its reason. Symbols may be written in lower case.

    Args:
        file: With a header line; see `cgcnn.data.composition.site_columns`.
        prototype_name: Whose sites the columns name, one column a site, or one for all X. By default the double
            perovskite where two columns name B, else the cubic one.
        strict: Refuse a file with such a row.

    Raises:
        UserError: There is no such prototype; the file cannot be read; columns are missing, named twice, or look like a
            site that the prototype does not have; there are no rows; or, if strict, one is no candidate.
    """
    if prototype_name not in {None, *PROTOTYPES}:
        raise UserError(f"`prototype` {prototype_name}: unknown; there is {', '.join(PROTOTYPES)}.")
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
    """What to say of a table whose first line seems to be a candidate."""
    first = all(name.capitalize() in NUMBERS for name in table.header)
    return " Name the columns in the first line." if first and table.header else ""


def _lines(table: TextTable, places: list[int], extra: list[int], *, strict: bool) -> Iterator[bytes]:
    """A record for each row; if strict, an error at the first row that is no candidate.

    Args:
        table: Of candidates.
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
    """The atomic numbers of a row.

    Raises:
        UserError: It is no candidate; the text begins with the number of the line.
    """
    if row.fault:
        raise UserError(row.fault)
    numbers = [NUMBERS.get(row.cells[place]) or _number(table, row, place) for place in places]
    if len(places) == 4 and numbers[1] == numbers[2]:
        raise UserError(f"line {row.line}: {SYMBOLS[numbers[1]]} on both B and B'. That is an ABX3: list it as one.")
    return numbers


def _number(table: TextTable, row: Row, place: int) -> int:
    """The atomic number of a symbol with blanks around it or in lower case."""
    symbol = row.cells[place].strip()
    try:
        return atomic_number(symbol.capitalize() if symbol.islower() else symbol)
    except UserError as error:
        raise UserError(f"line {row.line}, column {table.header[place]}: {error}") from None
