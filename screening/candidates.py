"""Explicit candidates: a CSV file with a column for each site, as `screen list` takes it."""

import csv
import io
from dataclasses import dataclass

import numpy as np

from cgcnn.errors import UserError
from cgcnn.prototype import Prototype
from screening.space import parse_elements


@dataclass(frozen=True)
class Candidates:
    """The rows of a candidate file.

    Attributes:
        species: (n, n_sites) uint8 atomic numbers, in the order of the prototype's sites, as the file has them.
        site_columns: the columns that named the sites, each once.
        extra: the file's other columns, name -> n texts; they pass through to the results.
    """

    species: np.ndarray
    site_columns: tuple[str, ...]
    extra: dict[str, list[str]]


def parse_candidates(text: str, prototype: Prototype, source: str) -> Candidates:
    """Read candidates from the text of a CSV file.

    Args:
        text: the file's content, with a header line.
        prototype: whose sites the columns name: one column a site, or one for all sites of a role.
        source: the file's name, for messages.

    Raises:
        UserError: columns or rows are missing, or a row has an unknown element (the line is named).
    """
    reader = csv.DictReader(io.StringIO(text))
    header = tuple(reader.fieldnames or ())
    columns = _site_columns(header, prototype, source)
    rows = [(reader.line_num, row) for row in reader]
    if not rows:
        raise UserError(f"{source}: no candidates below the header. Give one candidate a line.")
    species = np.array([_numbers(row, columns, f"{source}, line {line}") for line, row in rows], dtype=np.uint8)
    extra = {name: [row[name] or "" for _, row in rows] for name in header if name not in columns}
    return Candidates(species, tuple(dict.fromkeys(columns)), extra)


def _site_columns(header: tuple[str, ...], prototype: Prototype, source: str) -> tuple[str, ...]:
    """The column that names the element of each site."""
    for columns in (prototype.sites, prototype.roles):
        if set(columns) <= set(header):
            return columns
    wanted = f"{','.join(prototype.role_names)} or {','.join(prototype.sites)}"
    raise UserError(f"{source}: its columns are {','.join(header) or 'none'}; {prototype.name} needs {wanted}.")


def _numbers(row: dict[str, str | None], columns: tuple[str, ...], where: str) -> list[int]:
    numbers = []
    for column in columns:
        try:
            (number,) = parse_elements([row[column] or ""])
        except UserError as error:
            raise UserError(f"{where}, column {column}: {error}") from None
        numbers.append(number)
    return numbers
