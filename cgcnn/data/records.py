"""Records of a data set, and the compositions that they name. Needs neither torch nor pymatgen."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.elements import atomic_number
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cgcnn.graphs.prototype import Prototype

Record = dict[str, Any]
_OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}


def read_records(path: str | Path) -> list[Record]:
    """Records of a JSON Lines file, plain or compressed (.xz, .gz), in file order.

    Raises:
        UserError: No such file, not JSON Lines, or empty.
    """
    file = Path(path)
    try:
        with _OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8") as lines:
            records = list(parse_lines(file, lines))
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not records:
        raise UserError(f"{file}: no records; expected one JSON object a line")
    return records


def parse_lines(file: Path, lines: Iterable[str]) -> Iterator[Record]:
    """One record for each line that is not blank.

    Raises:
        UserError: A line is not a JSON object; the message names it.
    """
    return (_parse(file, number, line) for number, line in enumerate(lines, 1) if line.strip())


def _parse(file: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {number}: not JSON ({error.msg}); expected one object a line") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, line {number}: a {type(record).__name__}, expected a JSON object")
    return record


def record_id(record: Record, position: int) -> str:
    """The record's ``id`` or ``material_id``, or its position in the file (from 0) where it has neither."""
    named = (record[key] for key in ("id", "material_id") if record.get(key) not in {None, ""})
    return str(next(named, position))


def site_numbers(record: Record, prototype: Prototype) -> list[int]:
    """Atomic numbers (n_sites) of one record's sites, from its site columns.

    A record names the elements by role (``A, B, X``, where X is one symbol or a list with one for each site) or by site
    (``A, B, X1, X2, X3``).

    Raises:
        UserError: A column is missing, has the wrong length or holds an unknown element.
    """
    symbols: Record = {}
    for role in prototype.role_names:
        sites = [site for site, of in zip(prototype.sites, prototype.roles, strict=True) if of == role]
        value = record.get(role)
        values = [value] * len(sites) if isinstance(value, str) else value
        if isinstance(values, list) and len(values) == len(sites):
            symbols |= dict(zip(sites, values, strict=True))
    symbols |= {site: record[site] for site in prototype.sites if isinstance(record.get(site), str)}
    for site in prototype.sites:
        if not isinstance(symbols.get(site), str):
            wanted = ",".join(prototype.sites)
            raise UserError(f"no element symbol for site {site}; columns needed: {wanted}")
    return [atomic_number(symbols[site]) for site in prototype.sites]
