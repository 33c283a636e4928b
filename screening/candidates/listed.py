"""Explicit candidates: a CSV file with a column for each site, as `screen list` takes it.

A run keeps them as records of its own: `[[atomic numbers], [texts of the other columns]]`, a line each; for a row that
is no candidate `[[], [texts], reason]`.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, PROTOTYPES, Prototype
from screening.candidates.compositions import OnPrototype
from screening.candidates.space import parse_elements
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from screening.candidates.multisets import Species
    from screening.candidates.notes import Notes

NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}

LIKE_A_SITE = re.compile(r"[ABX]['`\u2019\u2032\u00b4]*[0-9]*")
"""Names of columns that mean a site, whether the prototype has it or not."""


@dataclass(frozen=True)
class Listed(OnPrototype):
    """The candidates of a file, in its order; repeats are kept, and rows that are no candidates, to fail.

    Attributes:
        prototype: Name of the prototype.
        name_columns: The columns that named the sites, each once.
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
    """Read candidates from a CSV file.

    A row that is no candidate (an unknown symbol, an empty cell, the same element on B and B') is kept, to fail with
    its reason. Symbols may be written in lower case.

    Args:
        file: With a header line.
        prototype_name: Whose sites the columns name, one column a site, or one for all X. By default the double
            perovskite where there is a column B', else the cubic one.
        strict: Refuse a file with such a row.

    Raises:
        UserError: There is no such prototype; the file cannot be read; columns are missing, named twice, or look like a
            site that the prototype does not have; there are no rows; or, if strict, one is no candidate.
    """
    if prototype_name not in {None, *PROTOTYPES}:
        raise UserError(f"`prototype` {prototype_name}: unknown; there is {', '.join(PROTOTYPES)}.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = tuple(reader.fieldnames or ())
            by_columns = DOUBLE_PEROVSKITE if "B'" in header else CUBIC_PEROVSKITE
            prototype = PROTOTYPES[prototype_name] if prototype_name else by_columns
            columns = _site_columns(header, prototype, str(file))
            extra = tuple(dict.fromkeys(name for name in header if name not in columns))
            records = draft(_lines(reader, columns, extra, str(file) if strict else ""))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}. Give a CSV file of candidates.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: not a CSV file in UTF-8 ({error}). Give a CSV file of candidates.") from None
    if not len(records):
        raise UserError(f"{file}: no candidates below the header. Give one candidate a line.")
    return Listed(prototype.name, tuple(dict.fromkeys(columns)), extra, records)


def _lines(
    reader: csv.DictReader[str], columns: tuple[str, ...], extra: tuple[str, ...], strict_source: str
) -> Iterator[bytes]:
    """A record for each row; with a source to name in it, an error at the first row that is no candidate."""
    for row in reader:
        texts: list[Any] = [[row[name] or "" for name in extra]]
        try:
            record = [_candidate(row, columns), *texts]
        except UserError as error:
            if strict_source:
                raise UserError(f"{strict_source}, line {reader.line_num}{error}") from None
            record = [[], *texts, f"line {reader.line_num}{error}"]
        yield json.dumps(record, separators=(",", ":")).encode()


def _candidate(row: dict[str, str], columns: tuple[str, ...]) -> list[int]:
    """The atomic numbers of a row.

    Raises:
        UserError: It is no candidate; the text goes on after the number of the line.
    """
    numbers = [NUMBERS.get(row[column] or "") or _number(row, column) for column in columns]
    if "B'" in columns and numbers[columns.index("B")] == numbers[columns.index("B'")]:
        raise UserError(f": {row['B'].strip()} on both B and B'. That is an ABX3: list it as one.")
    return numbers


def _number(row: dict[str, str], column: str) -> int:
    """The atomic number of a symbol with blanks around it or in lower case."""
    symbol = (row[column] or "").strip()
    try:
        (number,) = parse_elements([symbol.capitalize() if symbol.islower() else symbol])
    except UserError as error:
        raise UserError(f", column {column}: {error}") from None
    return number


def _site_columns(header: tuple[str, ...], prototype: Prototype, source: str) -> tuple[str, ...]:
    """The column that names the element of each site."""
    sites = prototype.sites
    for columns in (sites, _shared(prototype)):
        if set(columns) <= set(header):
            _refuse_misleading(header, columns, source)
            return columns
    raise UserError(
        f"{source}: its columns are {','.join(header) or 'none'}; {prototype.name} needs {_forms(prototype)}."
    )


def _refuse_misleading(header: tuple[str, ...], columns: Sequence[str], source: str) -> None:
    """Refuse a header that would lose a site without a word: one that is there twice, or that no prototype reads."""
    found = Counter(header)
    if twice := [name for name in dict.fromkeys(columns) if found[name] > 1]:
        raise UserError(f"{source}: column {twice[0]} is there {found[twice[0]]} times. Name each site once.")
    if stray := [name for name in header if name not in columns and LIKE_A_SITE.fullmatch(name.strip())]:
        known = ", or ".join(f"{_forms(prototype)} ({name})" for name, prototype in PROTOTYPES.items())
        raise UserError(
            f"{source}: column {stray[0]} looks like a site; read are {','.join(dict.fromkeys(columns))}. "
            f"The columns of candidates are {known}; give other columns other names."
        )


def _forms(prototype: Prototype) -> str:
    """The columns that can name the sites of a prototype."""
    choices = (_shared(prototype), prototype.sites)
    return " or ".join(dict.fromkeys(",".join(dict.fromkeys(columns)) for columns in choices))


def _shared(prototype: Prototype) -> tuple[str, ...]:
    """The column of each site where X stands for X1, X2 and X3; but B, itself a site, does not for B'."""
    sites, roles = prototype.sites, prototype.roles
    return tuple(site if role in sites else role for site, role in zip(sites, roles, strict=True))
