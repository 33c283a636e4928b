"""Crystals from JSON Lines: records, compositions, graphs."""

from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.batch import GraphBatch, from_graphs
from cgcnn.elements import atomic_number
from cgcnn.errors import UserError
from cgcnn.graph import CrystalGraph
from cgcnn.original import original_graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure
    from torch import Tensor

    from cgcnn.card import Settings
    from cgcnn.prototype import Prototype

Record = dict[str, Any]
_OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}


@dataclass(frozen=True)
class Examples:
    """Graphs with their labels.

    Attributes:
        graphs: n graphs.
        targets: (n, T) float32; NaN where a label is missing.
    """

    graphs: GraphBatch
    targets: Tensor


def read_records(path: str | Path) -> list[Record]:
    """Records of a JSON Lines file, plain or compressed (.xz, .gz), in file order.

    Raises:
        UserError: No such file, not JSON Lines, or empty.
    """
    file = Path(path)
    try:
        with _OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8") as lines:
            records = [_parse(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not records:
        raise UserError(f"{file}: no records; expected one JSON object a line")
    return records


def _parse(file: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{file}, line {number}: not JSON ({error.msg}); expected one object a line") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, line {number}: a {type(record).__name__}, expected a JSON object")
    return record


def record_id(record: Record, position: int) -> str:
    """The record's id, or its position in the file (from 0) where it has none."""
    return str(record.get("id", position))


def species(records: Sequence[Record], prototype: Prototype) -> NDArray[np.uint8]:
    """Canonical compositions (n, n_sites) from the records' site columns.

    A record names the elements by role (``A, B, X``, where X is one symbol or a list with one for each site) or by site
    (``A, B, X1, X2, X3``).

    Raises:
        UserError: A column is missing, has the wrong length or holds an unknown element.
    """
    rows = [_site_numbers(record, prototype, record_id(record, i)) for i, record in enumerate(records)]
    return prototype.canonical(np.array(rows, dtype=np.uint8).reshape(len(rows), len(prototype.sites)))


def _site_numbers(record: Record, prototype: Prototype, name: str) -> list[int]:
    symbols = {site: record[site] for site in prototype.sites if site in record}
    for role in prototype.role_names:
        sites = [site for site, of in zip(prototype.sites, prototype.roles, strict=True) if of == role]
        value = record.get(role)
        values = [value] * len(sites) if isinstance(value, str) else value
        if isinstance(values, list) and len(values) == len(sites):
            symbols |= dict(zip(sites, values, strict=True))
    for site in prototype.sites:
        if not isinstance(symbols.get(site), str):
            wanted = ",".join(prototype.sites)
            raise UserError(f"record {name}: no element symbol for site {site}; columns needed: {wanted}")
    try:
        return [atomic_number(symbols[site]) for site in prototype.sites]
    except UserError as error:
        raise UserError(f"record {name}: {error}") from None


def structure(record: Record) -> Structure:
    """The record's crystal, from ``cell`` (a, b, c in Å, angles in degrees), ``species`` and ``frac``.

    Raises:
        UserError: The record does not describe a crystal.
    """
    from pymatgen.core.lattice import Lattice  # noqa: PLC0415  # heavy; prototype input never needs it
    from pymatgen.core.structure import Structure, StructureError  # noqa: PLC0415

    try:
        crystal = Structure(Lattice.from_parameters(*record["cell"]), record["species"], record["frac"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, StructureError) as error:
        raise UserError(f"not a crystal ({error}); expected cell, species and frac") from None
    if not (len(crystal) and np.isfinite(crystal.cart_coords).all() and crystal.volume > 0):
        raise UserError("not a crystal (no atoms, or a number that is not finite); expected cell, species and frac")
    return crystal


def structure_graphs(records: Sequence[Record], settings: Settings) -> GraphBatch:
    """Quotient graphs of the records' crystals.

    Raises:
        UserError: A crystal cannot become a graph; the message names the record.
    """
    return from_graphs([_graph(record, settings, record_id(record, i)) for i, record in enumerate(records)])


def _graph(record: Record, settings: Settings, name: str) -> CrystalGraph:
    try:
        return crystal_graph(structure(record), settings)
    except UserError as error:
        raise UserError(f"record {name}: {error}") from None


def crystal_graph(crystal: Structure, settings: Settings) -> CrystalGraph:
    """The graph that a network with these settings reads.

    Raises:
        UserError: The crystal cannot become such a graph.
    """
    if settings.graphs == "original":
        return original_graph(crystal, neighbours=settings.neighbours, radius=settings.radius)
    return CrystalGraph.from_structure(crystal, neighbours=settings.neighbours, radius=settings.radius).quotient()
