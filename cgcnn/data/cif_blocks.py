"""CIF files as their raw loops say: which blocks hold crystals, and which atoms; nothing mended, nothing dropped.

Readers of CIF mend what they can, in silence: an atom without occupancy goes, ``Vac`` becomes vanadium, a coordinate
``?`` becomes 0. What is read here is compared with theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gemmi
import numpy as np

from cgcnn.data.bounds import check_cell, check_count, check_positions
from cgcnn.elements import SYMBOLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = [f"_cell_{name}" for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")]
OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_BLOCK = re.compile(r"^\s*data_", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(r"([A-Za-z]{1,2})(?:[0-9.]*[+-]?|[+-][0-9.]*)")  # Sr, Sr2+, Sr+2
_LABEL = re.compile(r"[A-Za-z]+")
_KNOWN = {*SYMBOLS[1:], "D"}
_FULL = 1.001  # occupancies are rounded
_POSITIONS = 40_000  # rows times operations; more take hours to be expanded


@dataclass(frozen=True)
class Rows:
    """The atoms that a block lists.

    Attributes:
        cell: Three lengths in Å, three angles in degrees.
        symbols: N element symbols.
        frac: (N, 3) fractional coordinates.
        full: Whether all sites are fully occupied.
        operations: Symmetry operations that it lists.
    """

    cell: list[float]
    symbols: list[str]
    frac: NDArray[np.float64]
    full: bool
    operations: list[str]


def crystals(text: str) -> list[str]:
    """The text of each data block that holds a crystal; the whole text where that is one, or cannot be told."""
    if len(_BLOCK.findall(text)) < 2:
        return [text]
    try:
        document = gemmi.cif.read_string(text, 0)
    except (RuntimeError, ValueError):
        return [text]
    blocks = [block.as_string() for block in document if len(block.find_values("_atom_site_fract_x"))]
    return blocks or [text]


def only_block(text: str) -> gemmi.cif.Block:
    """The data block with the crystal.

    Raises:
        ValueError: It is not a CIF, or holds no crystal or several.
    """
    try:
        document = gemmi.cif.read_string(text)
    except (RuntimeError, ValueError) as error:
        raise ValueError(str(error).removeprefix("string:").strip()) from None
    blocks = [block for block in document if len(block.find_values("_atom_site_fract_x"))]
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks) or 'no'} data blocks with atoms")
    return blocks[0]


def rows(block: gemmi.cif.Block) -> Rows:
    """The atoms of a block.

    Raises:
        ValueError: A number is missing or is none, an occupancy is not above 0, or an atom is no element.
    """
    cell = [gemmi.cif.as_number(block.find_value(tag) or "?") for tag in CELL]
    check_cell(cell)
    columns = [list(block.find_values(f"_atom_site_fract_{axis}")) for axis in "xyz"]
    symbols = _symbols(block)
    check_count(len(symbols))
    if not symbols or {len(column) for column in columns} != {len(symbols)}:
        raise ValueError("the loop of atoms is not complete")
    frac = np.array([[gemmi.cif.as_number(text) for text in column] for column in columns]).T  # (N, 3)
    for i, axis in np.argwhere(~np.isfinite(frac)).tolist():
        raise ValueError(f"atom {i + 1} ({symbols[i]}) has {columns[axis][i]!r} as coordinate {'xyz'[axis]}")
    check_positions(frac)
    if "dum" in block.find_values("_atom_site_calc_flag"):
        raise ValueError("it lists dummy atoms")
    operations = [gemmi.cif.as_string(text) for tag in OPERATIONS for text in block.find_values(tag)]
    _check_operations(operations, len(symbols))
    return Rows(cell, symbols, frac, _are_full(block, symbols), operations)


def _symbols(block: gemmi.cif.Block) -> list[str]:
    types = [gemmi.cif.as_string(text) for text in block.find_values("_atom_site_type_symbol")]
    if types:
        return [_element(text, _TYPE.fullmatch(text), 1) for text in types]
    labels = [gemmi.cif.as_string(text) for text in block.find_values("_atom_site_label")]
    return [_element(text, _LABEL.match(text), 0) for text in labels]


def _element(text: str, found: re.Match[str] | None, part: int) -> str:
    symbol = found[part].capitalize() if found else ""
    if symbol not in _KNOWN:
        raise ValueError(f"{text!r} is not an element that models know (H to {SYMBOLS[-1]})")
    return symbol


def _are_full(block: gemmi.cif.Block, symbols: list[str]) -> bool:
    """Whether all occupancies are 1; where they are not stated, they are."""
    full = True
    for i, text in enumerate(block.find_values("_atom_site_occupancy")):
        value = 1.0 if text in {"?", "."} else gemmi.cif.as_number(text)
        if not 0 < value <= _FULL:
            raise ValueError(f"atom {i + 1} ({symbols[i]}) has the occupancy {text}")
        full &= value == 1
    return full


def _check_operations(operations: list[str], n: int) -> None:
    for text in operations:
        try:
            gemmi.Op(text)
        except (RuntimeError, ValueError):
            raise ValueError(f"{text!r} is no symmetry operation") from None
    if n * len(operations) > _POSITIONS:
        raise ValueError(f"{n:,} atoms and {len(operations)} symmetry operations are more than can be read")
