"""Structures as JSON Lines with the field names of OPTIMADE (version 1.2), the common interface of materials databases.

The first line says so, as optimade-python-tools writes and reads such files; each of the others is a resource of type
``structures``. What OPTIMADE has no name for, the predictions and where a structure comes from, begins with
``_screen_``.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core.structure import Structure

    from screening.results.starts import Start

VERSION = "1.2.0"
PREFIX = "_screen_"


def lines(starts: Sequence[Start]) -> Iterator[dict[str, Any]]:
    """The lines of a file, as JSON values."""
    yield {"x-optimade": {"meta": {"api_version": VERSION}}}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for start in starts:
        own = {f"{PREFIX}{name}": value for name, value in start.structure.properties.items()}
        own |= {f"{PREFIX}{name}": values for name, values in start.structure.site_properties.items()}
        attributes = {**attributes_of(start.structure), "last_modified": now, "immutable_id": None, **own}
        yield {"id": start.name, "type": "structures", "attributes": attributes}


def attributes_of(structure: Structure) -> dict[str, Any]:
    """A structure in OPTIMADE's names: lengths in Å, formulas and ratios as its specification has them."""
    symbols = [site.specie.symbol for site in structure]
    counts, atoms = dict(sorted(Counter(symbols).items())), len(symbols)
    units = math.gcd(*counts.values())
    per_unit = {symbol: count // units for symbol, count in counts.items()}
    return {
        "elements": list(counts),
        "nelements": len(counts),
        "elements_ratios": [count / atoms for count in counts.values()],
        "chemical_formula_descriptive": structure.properties.get("formula") or structure.composition.reduced_formula,
        "chemical_formula_reduced": "".join(f"{s}{n if n > 1 else ''}" for s, n in per_unit.items()),
        "chemical_formula_anonymous": anonymous(list(per_unit.values())),
        "chemical_formula_hill": "".join(f"{s}{n if n > 1 else ''}" for s, n in hill(counts)),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "nsites": atoms,
        "species_at_sites": symbols,
        "species": [{"name": s, "chemical_symbols": [s], "concentration": [1.0]} for s in dict.fromkeys(symbols)],
        "structure_features": [],
    }


def anonymous(counts: Sequence[int]) -> str:
    """OPTIMADE's formula without elements: the letters A, B, …, Z, Aa, Ba, … with the numbers from the largest on."""
    letters = [f"{big}{small}" for small, big in product(["", *string.ascii_lowercase], string.ascii_uppercase)]
    ordered = sorted(counts, reverse=True)
    return "".join(f"{letter}{n if n > 1 else ''}" for letter, n in zip(letters, ordered, strict=False))


def hill(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Elements in Hill's order: with carbon, it and hydrogen come first."""
    first = [symbol for symbol in ("C", "H") if "C" in counts and symbol in counts]
    return [(symbol, counts[symbol]) for symbol in [*first, *(s for s in counts if s not in first)]]
