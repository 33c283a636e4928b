"""CIF files as structures: plain ones fast, others by pymatgen's reader, and none that this would mend in silence.

Plain is what pymatgen, ASE and the Materials Project write without symmetry: one block, P 1, every atom in one row with
its element, full occupancy, nothing else that would change the crystal. These are read here, as pymatgen reads them
(`benchmarks/README.md` says how much faster). What pymatgen reads has to hold every atom that the file lists.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from scipy.spatial import cKDTree

from cgcnn.data.cif_blocks import CELL, OPERATIONS, Rows, only_block, rows
from cgcnn.elements import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Iterable

    import gemmi
    from numpy.typing import NDArray

_NEEDED = {f"_atom_site_{name}" for name in ("type_symbol", "label", "fract_x", "fract_y", "fract_z")}
_HARMLESS = {
    *CELL,
    *OPERATIONS,
    "_atom_site_occupancy",
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
_MOVED = 1e-3  # fractional; pymatgen rounds, but not by more


def read_cif(text: str) -> Structure:
    """The crystal of a CIF with all its atoms, each as the file says.

    Raises:
        ValueError: It is no CIF of one crystal, or says what no crystal is, or is not read as it says.
    """
    block = only_block(text)
    listed = rows(block)
    plain = plain_cif(block, listed)
    if plain is not None:
        return plain
    crystal = Structure.from_str(text, fmt="cif")
    _compare(listed, crystal)
    return crystal


def plain_cif(block: gemmi.cif.Block, listed: Rows) -> Structure | None:
    """The crystal of a plain block, as pymatgen reads it; None where it is not surely plain."""
    symbols = list(block.find_values("_atom_site_type_symbol"))
    if not (symbols == listed.symbols and listed.full and set(symbols) <= _order().keys()):
        return None
    if not _is_plain(block, listed.operations):
        return None
    frac, lattice = _in_cell(listed.frac), Lattice.from_parameters(*listed.cell)
    if not (_are_apart(frac) and lattice.volume > _THICK * np.prod(sorted(lattice.abc)[1:])):
        return None
    order = sorted(range(len(symbols)), key=lambda i: _order()[symbols[i]])
    return Structure(lattice, [symbols[i] for i in order], frac[order])


def _compare(listed: Rows, crystal: Structure) -> None:
    """Refuse a crystal that lacks an atom which its file lists, or has another element there.

    Raises:
        ValueError: It does.
    """
    if not crystal.is_ordered:
        return  # and so no graph; the reason is told there
    if len(listed.operations) < 2 and len(crystal) < len(listed.symbols):
        raise ValueError(f"it lists {len(listed.symbols)} atoms, of which {len(crystal)} are on places of their own")
    tree = cKDTree(_wrapped(np.asarray(crystal.frac_coords)), boxsize=1)
    far, nearest = tree.query(_wrapped(listed.frac), p=np.inf)
    for i, symbol in enumerate(listed.symbols):
        found = crystal[int(nearest[i])].specie.symbol
        if far[i] > _MOVED or found != symbol:
            raise ValueError(f"atom {i + 1} ({symbol}) would be read as {found if far[i] <= _MOVED else 'nothing'}")


def _is_plain(block: gemmi.cif.Block, operations: list[str]) -> bool:
    """Whether the only symmetry operation is the identity, and every tag is known to mean nothing more."""
    tags: set[str] = set()
    for item in cast("Iterable[Any]", block):
        tags |= set(item.loop.tags) if item.loop else {item.pair[0] if item.pair else ""}
    unknown = {tag for tag in tags - _HARMLESS - _NEEDED if not tag.startswith(_TEXTS)}
    identity = [text.replace(" ", "").lower() for text in operations] == ["x,y,z"]
    return identity and not unknown and tags >= _NEEDED


def _in_cell(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates near thirds as thirds, and all between 0 and 1."""
    for ideal in _IDEAL:
        frac[np.abs(frac / ideal - 1) <= _NEAR] = ideal
    return frac - np.floor(frac)


def _wrapped(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates from 0 to below 1."""
    inside = frac - np.floor(frac)
    return np.where(inside < 1, inside, 0.0)  # -1e-17 lies one cell above 1 - 1e-17, which is 1


def _are_apart(frac: NDArray[np.float64]) -> bool:
    return not cKDTree(_wrapped(frac), boxsize=1).query_pairs(_APART, p=np.inf)


@lru_cache(maxsize=1)
def _order() -> dict[str, tuple[float, str]]:
    """Symbol → what pymatgen sorts sites by; noble gases have no electronegativity, and no order of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {symbol: (x, symbol) for symbol in SYMBOLS[1:] if np.isfinite(x := Element(symbol).X)}
