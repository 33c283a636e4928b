"""Read CIF files: the crystal that a file describes, with all of its atoms, or the reason why there is none.

Other programs silently repair CIF files: they guess the setting of a space group, drop an atom without occupancy, and
take ``Vac`` for vanadium and ``?`` for 0. This reader takes only what the file says, and checks it against the rest of
the file: the operations against the name of the group, the atoms against the formula and Z. It refuses ambiguous files
with a ValueError of one line.

Sites are in pymatgen's order, on which the graphs of the published code depend.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from cgcnn.data.limits import check_apart, check_cell, check_count, check_positions
from cgcnn.elements import SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

CELL = [f"_cell_{name}" for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")]
COPY = 0.1
"""Å; nearer positions of one element are one atom: a rounded special position, or an atom listed twice."""
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_MAGNETIC = ("_space_group_symop_magn_operation_xyz", "_space_group_symop_magn_operation_mxmymz")
_NAMES = (
    *("_symmetry_space_group_name_h-m", "_space_group_name_h-m_alt", "_space_group_name_h-m_ref"),
    *("_space_group_name_h-m_full", "_symmetry_space_group_name_h-m_full", "_space_group_name_h-m"),
)
_HALL = ("_symmetry_space_group_name_hall", "_space_group_name_hall")
_NUMBERS = ("_symmetry_int_tables_number", "_space_group_it_number")
_FORMULA, _Z = "_chemical_formula_sum", "_cell_formula_units_z"
_ATOMS = "_atom_site_"
_ESSENTIAL = {*CELL, *_OPERATIONS, *_MAGNETIC, *_NAMES, *_HALL, *_NUMBERS, _FORMULA, _Z, "_cell_modulation_dimension"}
_BLOCK = re.compile(r"^\s*data_", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(r"([A-Za-z]{1,2})(?:[0-9.]*[+-]?|[+-][0-9.]*)")  # Sr, Sr2+, Sr+2
_MIXED = re.compile(r"[0-9.]*\s*[A-Z][a-z]?[0-9+-]*(?:\s*[,+/]\s*[0-9.]*\s*[A-Z][a-z]?[0-9+-]*)+")  # 0.8Nb + 0.2Zr
_ISOTOPES = {"D": "H", "T": "H"}
_KNOWN = {*SYMBOLS[1:]}
_FULL = 1.001  # occupancies are rounded
_POSITIONS = 40_000  # rows times operations; more would take hours
_METRIC = 0.02  # relative; lengths and angles are rounded, and pseudosymmetric cells are refined
_EXACT = 1e-6  # Å; positions of one atom farther apart differ by rounding in the file
_IDEAL = np.array([1 / 3, 2 / 3])
_NEAR = 1e-4  # relative; nearer coordinates are thirds, as in pymatgen
_NOTHING = {"?", ".", ""}

Operations = list[gemmi.Op]


def crystals(text: str) -> list[str]:
    """Split a file into the text of each data block that holds a crystal.

    If there is only one block, or it is not a CIF, return the whole text.
    """
    if len(_BLOCK.findall(text)) < 2:
        return [text]
    starts = [found.start() for found in _BLOCK.finditer(_without_text_fields(text))]
    parts = [text[a:b] for a, b in itertools.pairwise([*starts, len(text)])]
    blocks = [part for part in parts if re.search(r"^\s*_atom_site[_.]fract_x\b", part, re.IGNORECASE | re.MULTILINE)]
    return blocks or [text]


def read_cif(text: str) -> Structure:
    """Read the crystal of a CIF, with all its atoms.

    A site of partial occupancy keeps it; such a crystal is not ordered.

    Raises:
        ValueError: It is not a CIF of one crystal, describes an impossible crystal, contradicts itself, or is
            ambiguous.
    """
    block = _only_block(text)
    rows = _rows(block)
    found = [_expanded(rows, setting.operations) for setting in _settings(block, rows)]
    cells = [cell for cell in found if isinstance(cell, _Cell)]
    reasons = [cell for cell in found if isinstance(cell, str)]
    if not cells:
        raise ValueError(reasons[0])
    if len(found) > 1:
        cells = _told_apart(rows, cells, block)
    (cell,) = cells
    _check_formula(rows, cell, block)
    crystal, of = _structure(rows, cell)
    check_apart(crystal, [rows.name(row) for row in of])
    return crystal


class _Block:
    """A data block: values by tag in lower case, with `_` in place of the dots of newer dictionaries."""

    def __init__(self, block: gemmi.cif.Block) -> None:
        self.pairs: dict[str, list[str]] = {}
        self.loops: list[dict[str, list[str]]] = []
        items: Any = block  # iterable, but not by gemmi's types
        for item in items:
            if item.pair is not None:
                tag, value = item.pair
                self.pairs.setdefault(_tag(tag), []).append(_text(value))
            elif item.loop is not None:
                tags = [_tag(tag) for tag in item.loop.tags]
                values = list(map(_text, item.loop.values))
                self.loops.append({tag: values[i :: len(tags)] for i, tag in enumerate(tags)})

    def values(self, *tags: str) -> list[str]:
        """Return the known values of these tags."""
        found = [value for tag in tags for value in self.pairs.get(tag, [])]
        found += [value for tag in tags for loop in self.loops for value in loop.get(tag, [])]
        return [value for value in found if value not in _NOTHING]

    def value(self, tag: str) -> str:
        """Return the one value of a tag; "?" if there is none.

        Raises:
            ValueError: It has several different values.
        """
        found = list(dict.fromkeys(self.values(tag)))
        if len(found) > 1:
            raise ValueError(f"{tag} is given as {found[0]} and as {found[1]}")
        return found[0] if found else "?"

    @property
    def atoms(self) -> list[dict[str, list[str]]]:
        """The loops of atoms with fractional coordinates, or the one atom outside a loop."""
        found = [loop for loop in self.loops if f"{_ATOMS}fract_x" in loop]
        alone = {tag: values[:1] for tag, values in self.pairs.items() if tag.startswith(_ATOMS)}
        return [*found, *([alone] if f"{_ATOMS}fract_x" in alone else [])]


def _text(value: str) -> str:
    """Return the text of a value; "?" or "." if it is unknown or does not apply."""
    return value if value in _NOTHING else gemmi.cif.as_string(value).strip()


def _tag(tag: str) -> str:
    return tag.lower().replace(".", "_")


def _only_block(text: str) -> _Block:
    """Read the data block with the crystal.

    Raises:
        ValueError: It is not a CIF, or holds no crystal or several.
    """
    text = text.removeprefix("\ufeff")
    try:
        document = gemmi.cif.read_string(text, 0)
    except (RuntimeError, ValueError) as error:
        try:
            document = gemmi.cif.read_string(_essential(text), 0)
        except (RuntimeError, ValueError):
            raise ValueError(str(error).removeprefix("string:").strip()) from None
    blocks = [block for block in map(_Block, document) if block.atoms]
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks) or 'no'} data blocks with atoms")
    return blocks[0]


def _essential(text: str) -> str:
    """Keep only the cell, symmetry, atoms and formula of a file that is not quite CIF.

    A stray comma after an author's name, or a line before the first block, is no reason to refuse it.
    """
    kept: list[str] = []
    loop: list[str] | None = None  # the tags of a loop, until its first row
    wanted = False  # whether its rows are kept
    for line in _without_text_fields(text).splitlines():
        word, rest = [*line.split(maxsplit=1), "", ""][:2]
        if not word or word.startswith("#"):
            continue
        if word.lower().startswith("data_"):
            kept.append(word)
            loop, wanted = None, False
        elif word.lower() == "loop_":
            loop, wanted = rest.split(), False
        elif word.startswith("_") and loop is not None and not rest:
            loop.append(word)
        elif word.startswith("_"):
            kept += [f"{word} {_quoted(rest)}"] if _decides(word) else []
            loop, wanted = None, False
        elif kept and (loop or wanted):
            if loop:
                wanted = any(map(_decides, loop))
                kept += ["loop_", *loop] if wanted else []
                loop = []
            kept += [line] if wanted else []
    return "\n".join(kept) + "\n"


def _decides(tag: str) -> bool:
    return _tag(tag) in _ESSENTIAL or _tag(tag).startswith(_ATOMS)


def _quoted(value: str) -> str:
    """Quote the value of a pair so that CIF reads all of it: `P 1` needs quotes, a comma after quotes is dropped."""
    value = value.rstrip(",").strip() if value.rstrip(", ").endswith(("'", '"')) else value.strip()
    if not value or value[0] in "'\"" or not re.search(r"\s", value):
        return value or "?"
    return f'"{value}"'


def _without_text_fields(text: str) -> str:
    """Blank out text fields, which run from a line that begins with a semicolon to the next; keep the length."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n\r]", " ", found[0])

    return re.sub(r"^;.*?^;", blank, text, flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class _Rows:
    """The atoms that a block lists.

    Attributes:
        cell: Three lengths in Å, three angles in degrees.
        symbols: N element symbols.
        frac: (N, 3) fractional coordinates.
        occupancy: (N,).
    """

    cell: list[float]
    symbols: list[str]
    frac: NDArray[np.float64]
    occupancy: NDArray[np.float64]

    @property
    def vectors(self) -> NDArray[np.float64]:
        """Lattice vectors (3, 3) in Å, oriented as in pymatgen."""
        return np.asarray(_lattice(self.cell).matrix)

    def name(self, row: int) -> str:
        """Name a row as the file counts it."""
        return f"atom {row + 1} ({self.symbols[row]})"


def _rows(block: _Block) -> _Rows:
    """Read the atoms of a block.

    Raises:
        ValueError: A number is missing or malformed, an occupancy is not above 0, an atom is not an element, or the
            file mentions atoms that it does not list.
    """
    if (modulated := block.value("_cell_modulation_dimension")) not in _NOTHING | {"0"}:
        raise ValueError(f"its structure is modulated in {modulated} dimensions")
    cell = [gemmi.cif.as_number(block.value(tag)) for tag in CELL]
    check_cell(cell)
    loops = block.atoms
    if len(loops) > 1:
        raise ValueError(f"{len(loops)} loops of atoms")
    columns = [loops[0].get(f"{_ATOMS}fract_{axis}", []) for axis in "xyz"]
    if "dum" in loops[0].get(f"{_ATOMS}calc_flag", []):
        raise ValueError("it lists dummy atoms")
    symbols = _symbols(loops[0], block)
    check_count(len(symbols))
    if not symbols or {len(column) for column in columns} != {len(symbols)}:
        raise ValueError("the loop of atoms is not complete")
    frac = np.array([[gemmi.cif.as_number(text) for text in column] for column in columns]).T  # (N, 3)
    for i, axis in np.argwhere(~np.isfinite(frac)).tolist():
        raise ValueError(f"atom {i + 1} ({symbols[i]}) has {columns[axis][i]!r} as coordinate {'xyz'[axis]}")
    check_positions(frac)
    rows = _Rows(cell, symbols, _thirds(frac), _occupancies(loops[0], symbols))
    _check_disorder(loops[0], rows)
    _check_hydrogens(loops[0], rows)
    return rows


def _symbols(loop: Mapping[str, list[str]], block: _Block) -> list[str]:
    types, labels = loop.get(f"{_ATOMS}type_symbol", []), loop.get(f"{_ATOMS}label", [])
    if types and not _NOTHING.issuperset(types):
        return [_of_type(text, i) for i, text in enumerate(types)]
    formula = {_ISOTOPES.get(symbol, symbol) for symbol in _formula(block) or ()}
    return [_of_label(text, i, formula) for i, text in enumerate(labels)]


def _of_type(text: str, row: int) -> str:
    if _MIXED.fullmatch(text) and not _TYPE.fullmatch(text):
        raise ValueError(f"atom {row + 1} has mixed occupancy: {text!r} is more than one element")
    found = _TYPE.fullmatch(text)
    symbol = found[1].capitalize() if found else ""
    symbol = _ISOTOPES.get(symbol, symbol)
    if symbol not in _KNOWN:
        raise ValueError(f"{text!r} is not an element that models know (H to {SYMBOLS[-1]})")
    return symbol


def _of_label(text: str, row: int, formula: set[str]) -> str:
    """Find the element of a label such as Sr1, SrA or CU2, with the help of the formula if it is ambiguous.

    Raises:
        ValueError: It is not an element, or may be one of two.
    """
    letters = (re.match(r"[A-Za-z]+", text) or [""])[0]
    if letters in _KNOWN | _ISOTOPES.keys():
        return _ISOTOPES.get(letters, letters)
    two, one = letters[:2].capitalize(), letters[:1].upper()
    if len(letters) > 2 and letters[:2] == two and two in _KNOWN and letters[2:].isupper():
        return two  # SrA
    choices = [_ISOTOPES.get(symbol, symbol) for symbol in (two, one) if symbol in _KNOWN | _ISOTOPES.keys()]
    if formula:
        choices = [symbol for symbol in choices if symbol in formula]
    elif letters[1:2].islower() or (two not in _KNOWN and letters[1:2] in {"H", "W"}):  # Wat, OH, OW
        choices = []
    if len(set(choices)) == 1:
        return choices[0]
    if choices:
        raise ValueError(f"the label {text!r} of atom {row + 1} may be {' or '.join(choices)}; give atom types")
    raise ValueError(f"{text!r} is not an element that models know (H to {SYMBOLS[-1]})")


def _occupancies(loop: Mapping[str, list[str]], symbols: Sequence[str]) -> NDArray[np.float64]:
    """Read the occupancies (N,); unstated ones are 1."""
    found = np.ones(len(symbols))
    for i, text in enumerate(loop.get(f"{_ATOMS}occupancy", [])):
        value = 1.0 if text in _NOTHING else gemmi.cif.as_number(text)
        if not 0 < value <= _FULL:
            raise ValueError(f"atom {i + 1} ({symbols[i]}) has the occupancy {text}")
        found[i] = min(value, 1.0)
    return found


def _check_disorder(loop: Mapping[str, list[str]], rows: _Rows) -> None:
    """Refuse disorder alternatives that are listed with full occupancy."""
    groups = loop.get(f"{_ATOMS}disorder_group", [])
    assemblies = loop.get(f"{_ATOMS}disorder_assembly", [""] * len(groups))
    seen: dict[str, dict[str, int]] = {}
    for i, (group, assembly) in enumerate(zip(groups, assemblies, strict=False)):
        if group in _NOTHING | {"0"} or rows.occupancy[i] < 1:
            continue
        there = seen.setdefault(assembly, {})
        there.setdefault(group, i)
        if group.startswith("-") or len(there) > 1:
            raise ValueError(f"{rows.name(i)} is in disorder group {group}, whose atoms cannot all be present at once")


def _check_hydrogens(loop: Mapping[str, list[str]], rows: _Rows) -> None:
    for i, text in enumerate(loop.get(f"{_ATOMS}attached_hydrogens", [])):
        if text not in _NOTHING and gemmi.cif.as_number(text) > 0:
            raise ValueError(f"{rows.name(i)} has {text} hydrogen atoms attached that are not listed")


@dataclass(frozen=True)
class _Setting:
    """A setting of a space group, that is its axes and origin, with its operations."""

    name: str
    operations: Operations


def _settings(block: _Block, rows: _Rows) -> list[_Setting]:
    """Find the settings of the space group that the file may mean; several if its name leaves the origin open.

    Raises:
        ValueError: No setting fits, or the file contradicts itself.
    """
    listed = [_operation(text) for text in block.values(*_OPERATIONS)]
    if len(listed) * len(rows.symbols) > _POSITIONS:
        raise ValueError(f"{len(rows.symbols):,} atoms and {len(listed)} symmetry operations are more than can be read")
    if not listed and block.values(*_MAGNETIC):
        raise ValueError("its symmetry is that of a magnetic space group; write it with ordinary operations")
    names, halls = block.values(*_NAMES), block.values(*_HALL)
    numbers = [_whole(text) for text in block.values(*_NUMBERS)]
    groups = {name: found for name in names if (found := _named(name))}
    if listed:
        if not _keeps_metric(listed, rows):
            raise ValueError(f"the cell {_listed(rows.cell)} does not have the symmetry of the operations listed")
        setting = _Setting("its symmetry operations", _closed(listed, rows))
        _check_names(setting, groups, numbers, rows)
        return [setting]
    if halls and (operations := _of_hall(halls[0])):
        _check_hall(halls[0], operations, groups, numbers)
        return _fitting([_Setting(halls[0], operations)], rows, halls[0])
    if names:
        return _fitting(_of_names(names, groups, numbers), rows, names[0])
    if numbers:
        if len(set(numbers)) > 1 or not 1 <= numbers[0] <= 230:
            raise ValueError(f"space group number {numbers[0]}: there are 1 to 230")
        table = [group for group in gemmi.spacegroup_table() if group.number == numbers[0]]
        return _fitting(list(map(_setting_of, table)), rows, f"number {numbers[0]}")
    return [_Setting("P 1", [gemmi.Op("x,y,z")])]


def _check_hall(
    hall: str, operations: Operations, groups: Mapping[str, list[gemmi.SpaceGroup]], numbers: Sequence[int]
) -> None:
    """Refuse a Hall symbol that contradicts the names and numbers of the file."""
    own = {op.wrap().triplet() for op in operations}
    for name, settings in groups.items():
        if all({op.wrap().triplet() for op in group.operations()} != own for group in settings):
            raise ValueError(f"the space groups {hall} and {name} contradict each other")
    named = [group for group in gemmi.spacegroup_table() if group.number in numbers]
    if named and all({op.wrap().triplet() for op in group.operations()} != own for group in named):
        raise ValueError(f"the space groups {hall} and number {named[0].number} contradict each other")


def _of_names(
    names: Sequence[str], groups: Mapping[str, list[gemmi.SpaceGroup]], numbers: Sequence[int]
) -> list[_Setting]:
    """Find the settings that all names and the number allow."""
    if not groups:
        raise ValueError(f"space group {names[0]!r} is not known, and its symmetry operations are not listed")
    kept = next(iter(groups.values()))
    for others in groups.values():
        there = {group.xhm() for group in others}
        kept = [group for group in kept if group.xhm() in there]
    if not kept or (numbers and {group.number for group in kept}.isdisjoint(numbers)):
        said = [*groups, *map(str, numbers)]
        raise ValueError(f"the space groups {' and '.join(said)} contradict each other")
    return list(map(_setting_of, kept))


def _setting_of(group: gemmi.SpaceGroup) -> _Setting:
    return _Setting(group.xhm(), list(group.operations()))


def _operation(text: str) -> gemmi.Op:
    try:
        return gemmi.Op(re.sub(r"\s+", "", text.strip("'\" ")).lower())
    except (RuntimeError, ValueError):
        raise ValueError(f"{text!r} is not a symmetry operation") from None


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and text.isascii() else 0


def _of_hall(name: str) -> Operations:
    try:
        return list(gemmi.symops_from_hall(name.replace("_", " ")))
    except (RuntimeError, ValueError):
        return []


def _named(name: str) -> list[gemmi.SpaceGroup]:
    """Find the settings that a Hermann-Mauguin name may mean; they differ in origin or axes."""
    text, _, extension = re.sub(r"\s+", " ", name.replace("_", "")).strip().partition(":")
    short = re.fullmatch(r"(.*\S) ([HRSZ])|(?=.*[a-z])(.*[a-z0-9])([HRSZ])", text.strip())  # R 3 c H, Fd-3mZ
    if short and not extension:
        text, ending = short[1] or short[3], short[2] or short[4]  # of the ICSD
        extension = {"S": "1", "Z": "2"}.get(ending, ending)
    spelled = dict.fromkeys([text, _short_symbol(text)])
    wanted = set(map(_compact, spelled))
    found = [group for group in gemmi.spacegroup_table() if wanted & _spellings(group)]
    if not found:  # older names, such as F m 3 m
        known = next(filter(None, (gemmi.find_spacegroup_by_name(_cased(one)) for one in spelled if one)), None)
        found = [group for group in gemmi.spacegroup_table() if known is not None and group.hm == known.hm]
    extension = extension.strip().upper()
    return [group for group in found if group.ext == extension] if extension in {"1", "2", "H", "R"} else found


def _cased(name: str) -> str:
    return name[:1].upper() + name[1:].lower()


def _compact(name: str) -> str:
    return name.replace(" ", "").lower()


def _spellings(group: gemmi.SpaceGroup) -> set[str]:
    """Return the name of a group without blanks, also without axes that have no symmetry: P21/n for P 1 21/n 1."""
    parts = group.hm.split()
    return {_compact(group.hm), _compact("".join(part for part in parts if part != "1"))}


def _short_symbol(name: str) -> str:
    """Return the short symbol of a full one: P m m m for P 2/m 2/m 2/m, P 4/m m m for P 4/m 2/m 2/m."""
    if name.count("/") < 2 and "-3" not in name:
        return name
    return re.sub(r"4[123]?/([a-z])(?= ?-3)", r"\1", re.sub(r"21?/([a-z])", r"\1", name.lower()))


def _fitting(settings: list[_Setting], rows: _Rows, name: str) -> list[_Setting]:
    """Keep the settings whose symmetry the cell has; among monoclinic ones prefer the usual unique axis b.

    Raises:
        ValueError: No setting fits.
    """
    kept = [setting for setting in settings if _keeps_metric(setting.operations, rows)]
    if not kept:
        raise ValueError(f"the cell {_listed(rows.cell)} does not have the symmetry of space group {name}")
    return [setting for setting in kept if re.match(r"\S 1 \S+ 1", setting.name)] or kept


def _keeps_metric(operations: Operations, rows: _Rows) -> bool:
    vectors = rows.vectors
    metric: NDArray[np.float64] = vectors @ vectors.T
    turns = np.array([op.rot for op in operations], dtype=float) / gemmi.Op.DEN  # (n, 3, 3)
    turned: NDArray[np.float64] = np.einsum("nki,kl,nlj->nij", turns, metric, turns)
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    return bool((np.abs(turned - metric) <= _METRIC * scale).all())


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _closed(listed: Operations, rows: _Rows) -> Operations:
    """Return the operations without duplicates, if they are a group or generate the same atoms as their group.

    Raises:
        ValueError: They are not a group.
    """
    once = list({op.wrap().triplet(): op for op in listed}.values())
    if not any(op == gemmi.Op("x,y,z") for op in map(gemmi.Op.wrap, once)):
        raise ValueError("its symmetry operations lack the identity x,y,z")
    group = gemmi.GroupOps(once)
    try:
        group.add_missing_elements()
    except RuntimeError:
        raise ValueError("its symmetry operations are not a group") from None
    shifts = [list(shift) for shift in group.cen_ops]
    for shift in shifts:  # grows while it is read
        sums = ([(x + y) % gemmi.Op.DEN for x, y in zip(shift, other, strict=True)] for other in list(shifts))
        shifts += [total for total in sums if total not in shifts]
    group.cen_ops = shifts
    if len(group) == len(once) or _is_invariant(rows, once, list(group)):
        return once
    raise ValueError(f"its {len(once)} symmetry operations are not a group: {len(group)} would be")


def _is_invariant(rows: _Rows, listed: Operations, group: Operations) -> bool:
    """Return whether the atoms that the listed operations generate are invariant under a group."""
    cell = _expanded(rows, listed)
    if isinstance(cell, str) or len(cell.frac) * len(group) > 10 * _POSITIONS:
        return False
    heights = 1 / np.linalg.norm(np.linalg.inv(rows.vectors), axis=0)
    numbers = np.array([SYMBOLS.index(rows.symbols[row]) for row in cell.row])
    for z in set(numbers.tolist()):
        here = _wrapped(cell.frac[numbers == z])
        tree = cKDTree(here, boxsize=1)
        images = np.concatenate([_applied(op, here) for op in group])
        far, _ = tree.query(_wrapped(images), p=np.inf)
        if (far * heights.max() > 2 * COPY).any():
            return False
    return True


def _check_names(
    setting: _Setting, groups: Mapping[str, list[gemmi.SpaceGroup]], numbers: Sequence[int], rows: _Rows
) -> None:
    """Refuse operations of another space group than the file names, unless the atoms also have its symmetry."""
    found = _type_of(setting.operations, rows)
    named = [group.number for choices in groups.values() for group in choices] or list(numbers)
    if not found or not named or found in named:
        return
    choices = [group for choices in groups.values() for group in choices]
    choices = choices or [group for group in gemmi.spacegroup_table() if group.number in named]
    for group in choices:
        operations = list(group.operations())
        if _keeps_metric(operations, rows) and _is_invariant(rows, setting.operations, operations):
            return
    name = next(iter(groups), f"number {named[0]}")
    raise ValueError(f"its {len(setting.operations)} symmetry operations are not those of space group {name}")


def _type_of(operations: Operations, rows: _Rows) -> int:
    """Return the number of the space group of some operations; 0 if it cannot be found."""
    import spglib  # heavy

    turns = np.array([op.rot for op in operations], dtype=np.int32) // gemmi.Op.DEN
    shifts = np.array([op.tran for op in operations], dtype=float) / gemmi.Op.DEN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = spglib.get_spacegroup_type_from_symmetry(turns, shifts, rows.vectors, symprec=1e-3)
        except Exception:  # noqa: BLE001  # newer versions raise an error, older ones return None
            return 0
    return int(found.number) if found is not None else 0


@dataclass(frozen=True)
class _Cell:
    """All atoms of a cell: the row of each (M,), and fractional coordinates (M, 3)."""

    row: list[int]
    frac: NDArray[np.float64]


def _applied(op: gemmi.Op, frac: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = frac @ (np.array(op.rot, dtype=float) / gemmi.Op.DEN).T
    moved += np.array(op.tran, dtype=float) / gemmi.Op.DEN
    return moved


def _orbit(rows: _Rows, row: int, operations: Operations) -> NDArray[np.float64]:
    """Return the positions (m, 3) of a row's atom in the order of the operations; merge those nearer than `COPY`.

    A position that rounding has split into several is their mean.
    """
    turns = np.array([op.rot for op in operations], dtype=float) / gemmi.Op.DEN
    shifts = np.array([op.tran for op in operations], dtype=float) / gemmi.Op.DEN
    images: NDArray[np.float64] = turns @ rows.frac[row] + shifts
    images -= np.floor(images)
    apart = images[:, None] - images
    apart -= np.round(apart)
    far = np.linalg.norm(apart @ rows.vectors, axis=-1)  # (n, n)
    near = far < COPY
    first = near.argmax(axis=1)
    kept = np.flatnonzero(first == np.arange(len(images)))
    if far[near].max(initial=0) > _EXACT:
        for at in kept:
            members = np.flatnonzero(near[at])
            images[at] += np.mean(apart[members, at], axis=0)
        images[kept] -= np.floor(images[kept])
    return images[kept]


def _expanded(rows: _Rows, operations: Operations) -> _Cell | str:
    """Generate all atoms of the cell, or return the reason why these cannot be its atoms."""
    row, places = [], []
    for i in range(len(rows.symbols)):
        orbit = _orbit(rows, i, operations)
        row += [i] * len(orbit)
        places.append(orbit)
        if len(row) > _POSITIONS:
            return f"more than {_POSITIONS:,} atoms in a cell"
    return _merged(rows, _Cell(row, np.concatenate(places)))


def _merged(rows: _Rows, cell: _Cell) -> _Cell | str:
    """Drop atoms that are listed twice; return the reason if two different atoms are at one position."""
    heights = 1 / np.linalg.norm(np.linalg.inv(rows.vectors), axis=0)
    dropped: set[int] = set()
    pairs = cKDTree(_wrapped(cell.frac), boxsize=1).query_pairs(min(COPY / heights.min(), 0.49), p=np.inf)
    for i, j in sorted(pairs):
        apart = cell.frac[j] - cell.frac[i]
        distance = float(np.linalg.norm((apart - np.round(apart)) @ rows.vectors))
        if distance >= COPY or i in dropped or j in dropped:
            continue
        one, other = cell.row[i], cell.row[j]
        if rows.occupancy[one] < 1 or rows.occupancy[other] < 1:
            continue  # a mixed site, or alternatives
        if rows.symbols[one] != rows.symbols[other]:
            return f"{rows.name(one)} and {rows.name(other)} are at one place"
        dropped.add(j)
    if not dropped:
        return cell
    kept = [i for i in range(len(cell.row)) if i not in dropped]
    return _Cell([cell.row[i] for i in kept], cell.frac[kept])


def _told_apart(rows: _Rows, cells: list[_Cell], block: _Block) -> list[_Cell]:
    """Find the one setting of several whose atoms agree with formula and Z.

    Raises:
        ValueError: Not exactly one agrees, or the file lacks formula or Z.
    """
    formula, units = _formula(block), block.value(_Z)
    fitting = []
    if formula and units not in _NOTHING:
        for cell in cells:
            try:
                _check_formula(rows, cell, block)
            except ValueError:
                continue
            fitting.append(cell)
    if len(fitting) != 1:
        said = next(iter(block.values(*_NAMES, *_NUMBERS)))
        raise ValueError(f"space group {said} has several settings or origins, and its symmetry operations are missing")
    return fitting


def _check_formula(rows: _Rows, cell: _Cell, block: _Block) -> None:
    """Refuse atoms that disagree with the formula or with Z.

    Raises:
        ValueError: They disagree.
    """
    formula = _formula(block)
    if not formula:
        return
    wanted: dict[str, float] = defaultdict(float)
    for symbol, count in formula.items():
        wanted[_ISOTOPES.get(symbol, symbol)] += count
    found: dict[str, float] = defaultdict(float)
    for row in cell.row:
        found[rows.symbols[row]] += float(rows.occupancy[row])
    if wanted.get("H") and not found.get("H"):
        raise ValueError(f"its formula is {block.value(_FORMULA)}, but no hydrogen is listed")
    units = sum(found.values()) / sum(wanted.values())
    for symbol in sorted({*wanted, *found}):
        if abs(found.get(symbol, 0) / units - wanted.get(symbol, 0)) > max(0.06, 0.01 * wanted.get(symbol, 0)):
            read = " ".join(f"{s}{n:g}" for s, n in sorted(found.items()))
            raise ValueError(f"its formula is {block.value(_FORMULA)}, its atoms are {read}")
    z, times = gemmi.cif.as_number(block.value(_Z)), _times_reduced(wanted.values())
    if z > 0 and all(abs(count / z - 1) > 0.02 for count in (units, units * times)):
        raise ValueError(f"it has Z = {block.value(_Z)}, but its atoms are {units:g} formula units")


def _times_reduced(counts: Iterable[float]) -> int:
    """Return the multiple of the reduced formula; some programs write the formula of the cell with Z of the unit."""
    whole = [round(count) for count in counts if abs(count - round(count)) < 1e-3]
    return math.gcd(*whole) or 1


def _formula(block: _Block) -> dict[str, float] | None:
    """Read the formula sum; None if it is missing or malformed."""
    found: dict[str, float] = {}
    texts = list(dict.fromkeys(block.values(_FORMULA)))
    if len(texts) != 1:
        return None
    parts = re.findall(r"([A-Z][a-z]?)\s?([0-9]*\.?[0-9]*)(?:\([0-9]+\))?", texts[0])
    if re.sub(r"([A-Z][a-z]?)\s?([0-9]*\.?[0-9]*)(?:\([0-9]+\))?|[\s,]", "", texts[0]):
        return None
    for symbol, count in parts:
        if symbol not in _KNOWN | _ISOTOPES.keys():
            return None
        found[symbol] = found.get(symbol, 0.0) + (float(count) if count not in {"", "."} else 1.0)
    return found if sum(found.values()) > 0 else None


def _structure(rows: _Rows, cell: _Cell) -> tuple[Structure, list[int]]:
    """Make the crystal with its sites in pymatgen's order, and return the row of each atom.

    Atoms of partial occupancy at one position are one site.
    """
    from pymatgen.core.structure import Structure  # heavy

    check_count(len(cell.row))
    order = sorted(range(len(cell.row)), key=lambda i: _order()[rows.symbols[cell.row[i]]])
    of = [cell.row[i] for i in order]
    symbols = [rows.symbols[row] for row in of]
    frac = cell.frac[order]
    occupancy = rows.occupancy[of]
    if (occupancy == 1).all():
        return Structure(_lattice(rows.cell), symbols, frac), of
    sites: list[dict[str, float]] = []
    places: list[NDArray[np.float64]] = []
    for symbol, place, share in zip(symbols, frac, occupancy.tolist(), strict=True):
        at = next(_same_place(rows, place, places), None)
        if at is None:
            sites.append({symbol: share})
            places.append(place)
        else:
            sites[at][symbol] = sites[at].get(symbol, 0.0) + share
    for site in sites:
        if sum(site.values()) > _FULL:
            raise ValueError(f"a site is occupied to {sum(site.values()):.3g} by {', '.join(site)}")
    whole = [
        {s: 1.0 if abs(share - 1) < 2e-3 and len(site) == 1 else share for s, share in site.items()} for site in sites
    ]
    return Structure(_lattice(rows.cell), whole, places), of


def _same_place(rows: _Rows, place: NDArray[np.float64], places: list[NDArray[np.float64]]) -> Iterator[int]:
    for at, other in enumerate(places):
        apart = place - other
        if np.linalg.norm((apart - np.round(apart)) @ rows.vectors) < COPY:
            yield at


def _thirds(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round coordinates near thirds to thirds."""
    for ideal in _IDEAL:
        frac[np.abs(frac / ideal - 1) <= _NEAR] = ideal
    return frac


def _wrapped(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wrap coordinates into 0 to below 1."""
    inside: NDArray[np.float64] = frac - np.floor(frac)
    return np.where(inside < 1, inside, 0.0)  # -1e-17 becomes 1 - 1e-17, which rounds to 1


def _lattice(cell: Sequence[float]) -> Lattice:
    from pymatgen.core.lattice import Lattice  # heavy

    return Lattice.from_parameters(*cell)


@lru_cache(maxsize=1)
def _order() -> dict[str, tuple[float, str]]:
    """Return symbol → pymatgen's sort key of sites; noble gases have no electronegativity and come last."""
    from pymatgen.core.periodic_table import Element  # heavy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {symbol: float(Element(symbol).X) for symbol in SYMBOLS[1:]}
    return {symbol: (x if np.isfinite(x) else 10.0, symbol) for symbol, x in found.items()}
