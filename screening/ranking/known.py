"""Known compounds: find formulas or crystals that the user already has among the candidates.

Compositions must match exactly: a non-stoichiometric compound matches no candidate of whole formula units.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.limits import uncompressed_name
from cgcnn.data.read import read
from cgcnn.data.samples import broken, from_record
from cgcnn.data.tables import open_table
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from screening.candidates.kind import Field
from screening.candidates.texts import array, strings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from cgcnn.data.samples import Sample
    from cgcnn.graphs.prototype import Prototype

    Reduced = tuple[tuple[int, int], ...]
    """Atoms of the smallest formula in whole numbers, by atomic number, ascending."""

_TYPESET = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789", "_${} ")
"""How formulas are typeset: SrZrO₃, SrZrO_3, $SrZrO_{3}$."""
FORMULA = ("formula", "formula_pretty", "pretty_formula", "reduced_formula", "chemical_formula", "composition")
"""Names of columns of formulas, as `_plain` writes them; the first one in a table counts."""

ID = ("id", "material_id", "mp_id", "task_id")
"""Names of columns that name the compound; again the first one counts."""

TABLES = (".csv", ".tsv", ".txt", ".xlsx")
"""Suffixes of tables."""

GIVEN = "user_e_above_hull"
"""Column of a ranking: the energy above hull that the user gave for a compound."""

_ENERGY = re.compile(r"(?:e|energy)_?(?:above_?)?hull(?:_per_atom)?(?:_(m?ev)(?:_(?:per_)?atom)?)?")
"""Names of columns of energies above hull, as `_plain` writes them."""

_OTHER_ENERGY = re.compile(r"(?:.*_)?energy(?:_.*)?|(?:e_(?:form|total|dft|decomp)|formation|delta_e|decomposition).*")
"""Names of columns that may hold energies of another kind."""

_FINEST = 1000
"""Largest denominator of amounts such as 0.95 and 0.333."""

_WEIGHTS = np.random.default_rng(0).integers(1, 2**40, MAX_Z + 1)
"""A weight for each element; sums over the atoms of a cell are equal only for equal compositions."""


@dataclass(frozen=True)
class Known:
    """Compounds that the user already has, by composition; which element sits where does not count.

    These are `Notes` on candidates, see `screening.candidates.kind`.

    Attributes:
        names: Reduced composition -> name; several names are joined by blanks.
        energies: Reduced composition -> energy above hull, eV/atom, the lowest of several; only of some compounds.
        notes: Warnings.
        other_energies: Name of a column that seems to hold other energies than above a hull; empty without one.
    """

    names: Mapping[Reduced, str]
    energies: Mapping[Reduced, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    other_energies: str = ""

    @property
    def columns(self) -> tuple[Field, ...]:
        """The columns that it adds to a ranking."""
        named = Field("known_as", "text", description="the compound that you already have, by name")
        given = Field(GIVEN, "number", "eV/atom", "energy above hull that you gave for it", 5)
        return (named, given) if self.energies else (named,)

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:
        """Look up the names of n rows, and the energies that came with them."""
        found = {"known_as": strings(self.names_of(rows["species"], prototype))}
        if self.energies:
            found[GIVEN] = array(self.energies_of(rows["species"], prototype).astype(np.float32))
        return found

    def names_of(self, species: np.ndarray, prototype: Prototype) -> list[str]:
        """Look up the name of each of species (n, n_sites); empty for those that are not known."""
        coded = self._coded(len(prototype.atoms))
        return [self.names[coded[code]] if code in coded else "" for code in _codes(species, prototype).tolist()]

    def energies_of(self, species: np.ndarray, prototype: Prototype) -> np.ndarray:
        """Look up energies above hull of species (n, n_sites), eV/atom: (n,) float32, NaN where none came with them."""
        coded = self._coded(len(prototype.atoms))
        found = (self.energies.get(coded.get(code, ()), math.nan) for code in _codes(species, prototype).tolist())
        return np.fromiter(found, dtype=np.float32, count=len(species))

    def are_known(self, species: np.ndarray, prototype: Prototype) -> np.ndarray:
        """Tell which of species (n, n_sites) are known: (n,)."""
        return np.isin(_codes(species, prototype), list(self._coded(len(prototype.atoms))))

    def _coded(self, atoms: int) -> dict[int, Reduced]:
        if atoms not in self._by_size:
            self._by_size[atoms] = dict(_coded_compositions(self.names, atoms))
        return self._by_size[atoms]

    @cached_property
    def _by_size(self) -> dict[int, dict[int, Reduced]]:
        return {}


def read_known(path: Path) -> Known:
    """Read what the user already has.

    Args:
        path: A table as `cgcnn.data.tables` reads it, or a file or folder as `cgcnn.data.read.read` takes it: rows,
            JSON or JSON Lines with a column formula (or formula_pretty, as the Materials Project has it) and one for
            the name (id, material_id) if there is one, or whose rows hold crystals; CIF, POSCAR, extxyz, an ASE
            database, a folder of these. Crystals are named by their ids or their files, and formulas without an id by
            themselves. Energies are in a column e_above_hull (or energy_above_hull, e_hull), in eV/atom unless its
            name says meV.

    Raises:
        UserError: There is no such file or folder, or no row has a composition. `notes` counts single rows without
            one.
    """
    try:
        samples = list(_rows(path)) if _is_table(path) else read(path)
    except UserError as error:
        raise UserError(f"`known` {error}") from None
    names: dict[Reduced, dict[str, None]] = {}  # in their order, each once
    energies: dict[Reduced, float] = {}
    odd, uneven, unread = [], [], []
    for sample in samples:
        try:
            amounts, name = _compound(sample)
            composition = _reduced(amounts)
        except UserError as error:
            odd.append(str(error))
            continue
        names.setdefault(composition, {})[name] = None
        if any(abs(amount - round(amount)) > 1e-6 for amount in amounts.values()):
            uneven.append(name)
        try:
            energy = _energy(sample)
        except ValueError as error:
            unread.append(f"{name}: {error}")
        else:
            energies[composition] = min(energy, energies.get(composition, math.inf))
    if odd and not names:
        raise UserError(f"`known` {path}: {odd[0]}{_more(odd)}")
    energies = {composition: energy for composition, energy in energies.items() if math.isfinite(energy)}
    notes = _notes(path, odd, "cannot be read", len(samples))
    notes += _notes(path, uneven, "not stoichiometric, which match only exactly that composition", len(samples))
    notes += _notes(path, unread, "with an energy that is not a number", len(samples))
    columns = dict.fromkeys(name for sample in samples for name in sample.labels)
    other = next((name for name in columns if not _energy_unit(name) and _OTHER_ENERGY.fullmatch(_plain(name))), "")
    known = {composition: " ".join(all_names) for composition, all_names in names.items()}
    return Known(known, energies, tuple(notes), other)


def _is_table(path: Path) -> bool:
    """Tell from its name whether a path is a table."""
    return uncompressed_name(path).lower().endswith(TABLES) and path.is_file()


def _rows(path: Path) -> Iterator[Sample]:
    """Read the rows of a table; a row that cannot be trusted comes as a broken one."""
    table = open_table(path)
    empty = True
    for row in table.rows:
        empty, name, fault = False, f"line {row.line}", row.fault
        cells: list[str] = []
        if not fault:
            try:
                cells = [table.number(row, column) for column in range(len(row.cells))]
            except UserError as error:
                fault = str(error)
        if fault:
            yield broken(name, fault.removeprefix(f"{name}: "))
        else:
            yield from_record(dict(zip(table.header, cells, strict=True)), name)
    if empty:
        raise UserError(f"{path}: no records; expected rows with a formula")


def _notes(path: Path, some: list[str], what: str, count: int) -> list[str]:
    if not some:
        return []
    return [f"`known` {path}: {len(some):,} of {count:,} {what}; the first is {some[0].rstrip('.')}"]


def _more(odd: list[str]) -> str:
    return f" ({len(odd):,} such rows, and no others)" if len(odd) > 1 else ""


def _compound(sample: Sample) -> tuple[dict[str, float], str]:
    """Read amounts by symbol, and the name, of a row or crystal.

    Raises:
        UserError: It has no composition.
    """
    labels = {_plain(name): value for name, value in sample.labels.items()}
    formula = next((labels[name] for name in FORMULA if labels.get(name)), "")
    if sample.form == "record" and not formula and not sample.labels.get("species"):
        columns = ",".join(name for name in sample.labels) or "none"
        raise UserError(f"{sample.id} has no formula; its columns are {columns}.")
    named = next((str(labels[name]) for name in ID if labels.get(name)), "")
    if formula:
        return _amounts(formula, sample.id), named or str(formula)
    try:
        crystal = structure(sample.form, sample.content)
    except UserError as error:
        raise UserError(f"{sample.id}: {error}") from None
    return dict(crystal.composition.get_el_amt_dict()), named or sample.id


def _amounts(formula: Any, name: str) -> dict[str, float]:  # a value of JSON
    """Read amounts by symbol from a formula, or from a composition as JSON."""
    from pymatgen.core.composition import Composition  # heavy; only needed for known compounds

    try:
        plain = formula.translate(_TYPESET) if isinstance(formula, str) else formula
        amounts = dict(Composition(plain).get_el_amt_dict())
    except (ValueError, TypeError, KeyError, OverflowError):
        amounts = {}
    if not amounts or not set(amounts) <= set(SYMBOLS[1:]):
        raise UserError(f"{name}: {formula!r} is not a formula. Write it as SrTiO3 or Cs2AgBiBr6.")
    return amounts


def _reduced(amounts: Mapping[str, float]) -> Reduced:
    """Reduce amounts by symbol to the smallest formula in whole numbers: SrTiO2.6 becomes Sr5Ti5O13."""
    parts = {symbol: Fraction(amount).limit_denominator(_FINEST) for symbol, amount in amounts.items() if amount > 0}
    common = math.lcm(*(part.denominator for part in parts.values()))
    whole = {symbol: int(part * common) for symbol, part in parts.items()}
    factor = math.gcd(*whole.values())
    return tuple(sorted((SYMBOLS.index(symbol), amount // factor) for symbol, amount in whole.items() if amount))


def _plain(column: str) -> str:
    """Write a column's name in lower case, with one underscore for anything that is not a letter."""
    return re.sub(r"[^a-z]+", "_", column.lower()).strip("_")


def _energy_unit(column: str) -> float:
    """Return the eV/atom of one unit of a column of energies above hull; 0 for any other column."""
    found = _ENERGY.fullmatch(_plain(column))
    return 0.0 if found is None else 1e-3 if found[1] == "mev" else 1.0


def _energy(sample: Sample) -> float:
    """Read the energy above hull of a row, eV/atom; infinite if it has none.

    Raises:
        ValueError: It has one that is not a number.
    """
    for name, value in sample.labels.items():
        if value not in (None, "") and (unit := _energy_unit(name)):
            energy = float(value) * unit
            if not math.isfinite(energy):
                raise ValueError(f"{name} is {value}")
            return energy
    return math.inf


def _coded_compositions(names: Mapping[Reduced, str], atoms: int) -> Iterator[tuple[int, Reduced]]:
    """Code each compound whose formula fills a cell of so many atoms."""
    for composition in names:
        cells, rest = divmod(atoms, sum(count for _, count in composition))
        if cells and not rest:
            yield int(sum(cells * count * _WEIGHTS[z] for z, count in composition)), composition


def _codes(species: np.ndarray, prototype: Prototype) -> np.ndarray:
    counts = np.bincount(prototype.atoms)  # (n_sites,)
    codes: np.ndarray = (_WEIGHTS[species] * counts).sum(axis=1)
    return codes
