"""Samples: crystals with their labels as a data set holds them; they are parsed when a graph is built."""

from __future__ import annotations

import json
import lzma
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cgcnn.data.limits import lines_of, opened
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Record = dict[str, Any]


def read_records(path: str | Path) -> list[Record]:
    """Read the records of a JSON Lines file, plain or compressed (.xz, .gz, .bz2), in file order.

    Raises:
        UserError: There is no such file, it is not JSON Lines, or it is empty.
    """
    file = Path(path)
    try:
        with opened(file, errors="surrogateescape") as stream:
            records = list(parse_lines(file, lines_of(stream, file)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not records:
        raise UserError(f"{file}: no records; expected one JSON object a line")
    return records


def parse_lines(file: Path, lines: Iterable[str]) -> Iterator[Record]:
    """Parse each line that is not blank as a record.

    Raises:
        UserError: A line is not a JSON object; the message names it.
    """
    return (_parse(file, number, line) for number, line in enumerate(lines, 1) if line.strip())


def _parse(file: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or str(error)
        raise UserError(f"{file}, line {number}: not JSON ({reason}); expected one object a line") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, line {number}: a {type(record).__name__}, expected a JSON object")
    return record


Form = Literal["record", "cif", "poscar", "pymatgen", "broken"]
_STRUCTURES = {"structure", "cif"}  # columns that hold a whole crystal
_CRYSTAL = ("cell", "species", "frac")


@dataclass(frozen=True)
class Sample:
    """A crystal of a data set, or a composition.

    Attributes:
        id: Id of the record, or stem of the file; the relative path of the file if stems are not unique.
        labels: All other data: targets, site columns, folds.
        form: Form of ``content``.
        content: JSON of ``cell``, ``species`` and ``frac`` for a record, otherwise the text of a file; the reason for a
            broken sample.
        path: Path of the file within the directory that was read; empty if a file was read directly.
    """

    id: str
    labels: Record
    form: Form
    content: str
    path: str = ""


def from_record(record: Record, position: int | str) -> Sample:
    """Make the sample of a record.

    The crystal is given by ``cell``, ``species`` and ``frac``, by ``structure`` or ``cif``, as pymatgen's
    ``Structure.as_dict()``, as ``atoms`` of JARVIS, or as an entry of OPTIMADE. A ``structure`` is a dictionary of
    pymatgen, its JSON, or the text of a CIF. Column names may have any case.

    Args:
        record: Record of a data set.
        position: Name of the sample if the record has no id.
    """
    name = record_id(record, position)
    if {"lattice", "sites"} <= record.keys():
        return Sample(name, {"id": name, **(record.get("properties") or {})}, "pymatgen", json.dumps(record))
    for column, value in record.items():
        if is_structure(column) and value:
            text = value if isinstance(value, str) else json.dumps(value)
            form: Form = "pymatgen" if text.lstrip().startswith("{") else "cif"
            return Sample(name, {k: v for k, v in record.items() if k != column}, form, text)
    atoms, attributes = record.get("atoms"), record.get("attributes", record)
    if isinstance(atoms, dict) and "lattice_mat" in atoms:
        crystal = _of_vectors(atoms["lattice_mat"], atoms["elements"], atoms["coords"], bool(atoms.get("cartesian")))
        return Sample(name, {k: v for k, v in record.items() if k != "atoms"}, "record", json.dumps(crystal))
    if isinstance(attributes, dict) and "cartesian_site_positions" in attributes:
        labels = {key: value for key, value in attributes.items() if isinstance(value, (str, int, float))}
        return Sample(name, {"id": name, **labels}, "record", json.dumps(_of_optimade(attributes)))
    return Sample(name, record, "record", json.dumps({key: record.get(key) for key in _CRYSTAL}))


def _of_optimade(attributes: Record) -> Record:
    """Read the crystal of an OPTIMADE entry.

    Raises:
        ValueError: It is not periodic in three directions, or a site does not hold exactly one element.
    """
    if list(attributes.get("dimension_types") or [1, 1, 1]) != [1, 1, 1]:
        raise ValueError("not periodic in three directions")
    elements: dict[str, str] = {}
    for species in attributes["species"]:
        symbols = species["chemical_symbols"]
        if len(symbols) != 1 or abs(float((species.get("concentration") or [1])[0]) - 1) > 1e-3:
            raise ValueError(f"site {species['name']} has mixed occupancy: {', '.join(symbols)}")
        elements[species["name"]] = symbols[0]
    symbols = [elements[name] for name in attributes["species_at_sites"]]
    return _of_vectors(attributes["lattice_vectors"], symbols, attributes["cartesian_site_positions"], cartesian=True)


def _of_vectors(vectors: object, symbols: list[str], places: object, cartesian: bool) -> Record:  # noqa: FBT001
    """Write a crystal as cell, species and fractional coordinates; vectors and Cartesian places are in Å."""
    import numpy as np  # heavy, and most records do not need it

    matrix = np.array(vectors, dtype=float).reshape(3, 3)
    frac = np.array(places, dtype=float).reshape(-1, 3)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise ValueError("the lattice vectors lie in one plane")
    if cartesian:
        frac = frac @ np.linalg.inv(matrix)
    lengths = np.linalg.norm(matrix, axis=1)
    cosines = [matrix[i] @ matrix[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    if len(frac) != len(symbols):
        raise ValueError(f"{len(symbols)} atoms at {len(frac)} places")
    return {"cell": [*lengths.tolist(), *angles.tolist()], "species": list(symbols), "frac": frac.tolist()}


def is_structure(column: str) -> bool:
    """Return whether a column of this name holds a whole crystal."""
    return column.casefold() in _STRUCTURES


def record_id(record: Record, position: int | str) -> str:
    """Return the record's ``id``, ``material_id`` or ``jid``, or else its position in the file (from 0)."""
    named = (record.get(key) for key in ("id", "material_id", "jid"))
    return next((_name(value) for value in named if value is not None and value != ""), str(position))


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def broken(name: str, reason: str) -> Sample:
    """Make the sample of something that cannot be read."""
    return Sample(name, {"id": name}, "broken", reason)
