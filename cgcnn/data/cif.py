"""Plain CIF files, faster than by pymatgen's reader (`benchmarks/README.md`), and with the same result.

Plain is what pymatgen, ASE and the Materials Project write without symmetry: one block, P 1, every atom in one row with
its element, full occupancy, nothing else that would change the crystal. What is not surely plain is left to pymatgen.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import gemmi
import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from cgcnn.elements import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_CELL = [f"_cell_{name}" for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")]
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_NEEDED = {f"_atom_site_{name}" for name in ("type_symbol", "label", "fract_x", "fract_y", "fract_z")}
_OCCUPANCY = "_atom_site_occupancy"
_HARMLESS = {
    *_CELL,
    *_OPERATIONS,
    _OCCUPANCY,
    *(f"_atom_site_{name}" for name in ("symmetry_multiplicity", "adp_type", "thermal_displace_type")),
    *(f"_atom_site_{name}" for name in ("B_iso_or_equiv", "U_iso_or_equiv", "Wyckoff_symbol")),
    *("_cell_volume", "_cell_formula_units_Z", "_symmetry_equiv_pos_site_id", "_space_group_symop_id"),
    *("_symmetry_space_group_name_H-M", "_symmetry_Int_Tables_number"),
    *("_space_group_name_H-M_alt", "_space_group_IT_number"),
}
_TEXTS = ("_chemical_", "_audit_", "_citation_", "_database_", "_journal_", "_publ_")  # prefixes
_IDEAL = np.array([1 / 3, 2 / 3])
_NEAR = 1e-4  # pymatgen takes coordinates that near, relative, for a third
_APART = 1e-2  # fractional; what is nearer is looked at by pymatgen
_THICK = 0.1  # Å; thinner cells are looked at by pymatgen
_MANY = 500  # atoms; more are not compared pair by pair


def plain_cif(text: str) -> Structure | None:
    """The crystal of a plain CIF, as pymatgen reads it; None where the file is not surely plain."""
    try:
        block = gemmi.cif.read_string(text).sole_block()
        cell = [float(block.find_value(name)) for name in _CELL]
        frac = np.array([[float(x) for x in block.find_loop(f"_atom_site_fract_{axis}")] for axis in "xyz"]).T  # (N, 3)
        full = all(float(x) == 1 for x in block.find_loop(_OCCUPANCY))
    except (IndexError, RuntimeError, TypeError, ValueError):
        return None
    symbols = list(block.find_loop("_atom_site_type_symbol"))
    if not (symbols and full and set(symbols) <= _order().keys() and len(symbols) == len(frac) and _is_plain(block)):
        return None
    frac, lattice = _in_cell(frac), Lattice.from_parameters(*cell)
    if not (_are_apart(frac) and lattice.volume > _THICK * np.prod(sorted(lattice.abc)[1:])):
        return None
    order = sorted(range(len(symbols)), key=lambda i: _order()[symbols[i]])
    return Structure(lattice, [symbols[i] for i in order], frac[order])


def _is_plain(block: gemmi.cif.Block) -> bool:
    """Whether the only symmetry operation is the identity, and every tag is known to mean nothing more."""
    tags: set[str] = set()
    for item in cast("Iterable[Any]", block):
        tags |= set(item.loop.tags) if item.loop else {item.pair[0] if item.pair else ""}
    unknown = {tag for tag in tags - _HARMLESS - _NEEDED if not tag.startswith(_TEXTS)}
    listed = [gemmi.cif.as_string(text) for name in _OPERATIONS for text in block.find_values(name)]
    identity = [text.replace(" ", "").lower() for text in listed] == ["x,y,z"]
    return identity and not unknown and tags >= _NEEDED


def _in_cell(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates near thirds as thirds, and all between 0 and 1."""
    for ideal in _IDEAL:
        frac[np.abs(frac / ideal - 1) <= _NEAR] = ideal
    return frac - np.floor(frac)


def _are_apart(frac: NDArray[np.float64]) -> bool:
    if len(frac) > _MANY or not np.isfinite(frac).all():
        return False
    delta = frac[:, None] - frac
    near = (np.abs(delta - np.round(delta)) < _APART).all(axis=2)
    return int(near.sum()) == len(frac)


@lru_cache(maxsize=1)
def _order() -> dict[str, tuple[float, str]]:
    """Symbol → what pymatgen sorts sites by; noble gases have no electronegativity, and no order of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {symbol: (x, symbol) for symbol in SYMBOLS[1:] if np.isfinite(x := Element(symbol).X)}
