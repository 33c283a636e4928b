"""Competing phases of the user's own: the convex hull that they make, and how far a candidate is above it.

Entries are those of pymatgen as JSON, such as mp-api's `get_entries_in_chemsys` returns and `monty.dumpfn` writes them.
Only their compositions and energies are read; no class that a file names is imported.

Shapes: M phases; 101 elements by atomic number.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import warnings
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Atoms = dict[int, float]  # how many of each atomic number
    Unit = tuple[tuple[int, float], ...]  # the same, sorted and reduced

TRACE = 1e-6
"""Share of atoms below which a phase is no product."""
FORM = "Give what monty.dumpfn writes of a list of ComputedEntry"


@dataclass(frozen=True)
class Source:
    """Where competing phases come from.

    Attributes:
        path: Of the file.
        digest: SHA-256 of its content.
        date: When it was written last, YYYY-MM-DD.
        count: Of phases.
    """

    path: str
    digest: str
    date: str
    count: int

    def __str__(self) -> str:
        return f"{self.path} of {self.date}, {self.count:,} phases, sha256 {self.digest[:12]}"


@dataclass(frozen=True)
class Distance:
    """How far above a hull a composition is.

    Attributes:
        energy: eV/atom; below 0 it would be a new phase of the hull.
        products: Reduced formula -> formula units of it for the composition that was asked for.
    """

    energy: float
    products: dict[str, float]

    @property
    def decomposition(self) -> str:
        """The products, such as ``2 CsCl + AgCl``."""
        return " + ".join(f"{amount:.3g} {name}".removeprefix("1 ") for name, amount in self.products.items())


@dataclass(frozen=True, eq=False)
class Phases:
    """Competing phases.

    Attributes:
        units: (M) atomic numbers and how many atoms of each a formula unit has.
        fractions: (M, 101) share of the atoms of each element.
        energies: (M,) eV/atom, with whatever corrections the entries have.
        source: Where they come from.
    """

    units: tuple[Unit, ...]
    fractions: Floats
    energies: Floats
    source: Source

    @cached_property
    def references(self) -> Floats:
        """(101,) lowest energy of each element by itself, eV/atom; NaN where there is none."""
        found = np.full(MAX_Z + 1, np.nan)
        for z in np.flatnonzero((self.fractions == 1).any(axis=0)):
            found[z] = self.energies[self.fractions[:, z] == 1].min()
        return found

    def formation_energy(self, counts: NDArray[np.integer[Any]], energy: float) -> float:
        """The formation energy, eV/atom, of atoms (101,) by element with this energy, eV/atom.

        Raises:
            UserError: An element is missing among the phases.
        """
        self.check(counts)
        there = counts > 0
        return float(energy - (counts[there] * self.references[there]).sum() / counts.sum())

    def distance(self, counts: NDArray[np.integer[Any]], formation_energy: float) -> Distance:
        """How far above the hull atoms (101,) by element are that have this formation energy, eV/atom.

        Raises:
            UserError: Elements, or all compounds of them, are missing among the phases.
        """
        from scipy.optimize import linprog

        self.check(counts)
        elements = np.flatnonzero(counts)
        rows, energies = self._system(tuple(elements.tolist()))
        share = counts[elements] / counts.sum()
        found = linprog(energies, A_eq=self.fractions[rows][:, elements].T, b_eq=share, method="highs")
        atoms = found.x * counts.sum()  # of each phase
        names = {i: name_unit(self.units[rows[i]]) for i in np.argsort(-found.x) if found.x[i] > TRACE}
        products = {name: float(atoms[i] / _atoms(name)) for i, name in names.items()}
        return Distance(float(formation_energy - found.fun), products)

    def check(self, counts: NDArray[np.integer[Any]]) -> None:
        """Refuse atoms (101,) by element whose chemical system the phases do not cover.

        Raises:
            UserError: Naming the elements, or the system.
        """
        there = counts > 0
        system = "-".join(sorted(SYMBOLS[z] for z in np.flatnonzero(there)))
        missing = [SYMBOLS[z] for z in np.flatnonzero(there & np.isnan(self.references))]
        if missing:
            what = f"no entry of {', '.join(missing)} alone, of which energies of {system} are counted"
            raise UserError(f"`competing_phases` {self.source.path}: {what}. Add the entries of {system}.")
        if len(self._system(tuple(np.flatnonzero(there).tolist()))[0]) == there.sum():
            raise UserError(
                f"`competing_phases` {self.source.path}: no compound of the system {system}. Add its entries."
            )

    def _system(self, elements: tuple[int, ...]) -> tuple[NDArray[np.int64], Floats]:
        """The phases of a chemical system that may be on its hull, and their formation energies, eV/atom."""
        if elements not in self._systems:
            inside = np.isclose(self.fractions[:, elements].sum(axis=1), 1)
            energies = self._formation_energies
            best: dict[Unit, int] = {}
            for i in np.flatnonzero(inside):
                unit = self.units[i]
                if unit not in best or energies[i] < energies[best[unit]]:
                    best[unit] = int(i)
            rows = np.array(sorted(best.values()), dtype=np.int64)
            self._systems[elements] = rows, energies[rows]
        return self._systems[elements]

    @cached_property
    def _formation_energies(self) -> Floats:
        """(M,) eV/atom; of elements without a reference as if it were 0, which no system that is asked for has."""
        return self.energies - self.fractions @ np.nan_to_num(self.references)

    @cached_property
    def _systems(self) -> dict[tuple[int, ...], tuple[NDArray[np.int64], Floats]]:
        return {}


def read_phases(path: str | Path) -> Phases:
    """Read competing phases.

    Args:
        path: A JSON file, perhaps with gzip: a list of entries, or an object whose `entries` are one.

    Raises:
        UserError: It cannot be read, or holds no entries.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        found = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except (OSError, ValueError, EOFError, RecursionError) as error:
        raise UserError(f"`competing_phases` {path}: cannot be read ({error}). {FORM}.") from None
    entries = found.get("entries") if isinstance(found, dict) else found
    if not isinstance(entries, list) or not entries:
        raise UserError(f"`competing_phases` {path}: holds no list of entries. {FORM}.")
    atoms, energies = zip(*_read(entries, path), strict=True)
    source = Source(str(path), hashlib.sha256(content).hexdigest(), date, len(entries))
    return Phases(tuple(map(_unit, atoms)), _fractions(atoms), np.array(energies), source)


def _read(entries: Iterable[Any], path: Path) -> Iterator[tuple[Atoms, float]]:
    """Atoms and energy, eV/atom, of each entry."""
    for place, entry in enumerate(entries, start=1):
        try:
            yield _phase(entry)
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(
                f"`competing_phases` {path}: entry {place} is none ({type(error).__name__}: {error}). {FORM}."
            ) from None


def _phase(entry: Any) -> tuple[Atoms, float]:
    """Atoms and energy, eV/atom, of an entry; ValueError and the like if it is none."""
    atoms: Atoms = {}
    for symbol, amount in entry["composition"].items():
        z = SYMBOLS.index(str(symbol).rstrip("0123456789+-"), 1)
        atoms[z] = atoms.get(z, 0.0) + float(amount)
    total = sum(atoms.values())
    corrections = (float(part["value"]) for part in entry.get("energy_adjustments") or ())
    correction = float(entry["correction"]) if "correction" in entry else sum(corrections)
    energy = (float(entry["energy"]) + correction) / total
    if not math.isfinite(energy) or not math.isfinite(total) or min(atoms.values()) < 0:
        raise ValueError("its energy or its amounts are no such numbers")
    return atoms, energy


def _unit(atoms: Atoms) -> Unit:
    """The smallest formula unit, if the numbers of atoms are whole; polymorphs have the same."""
    whole = all(amount.is_integer() for amount in atoms.values())
    factor = math.gcd(*map(int, atoms.values())) if whole else 1
    return tuple(sorted((z, amount / factor) for z, amount in atoms.items() if amount))


def _fractions(phases: Sequence[Atoms]) -> Floats:
    """(M, 101) share of the atoms of each element."""
    rows = [row for row, atoms in enumerate(phases) for _ in atoms]
    numbers, amounts = zip(*(pair for atoms in phases for pair in atoms.items()), strict=True)
    found = np.zeros((len(phases), MAX_Z + 1))
    found[rows, numbers] = amounts
    found /= found.sum(axis=1, keepdims=True)
    return np.where(np.isclose(found, 1), 1.0, found)


@lru_cache(maxsize=4096)
def name_unit(unit: Unit) -> str:
    """The reduced formula of a formula unit, as pymatgen has it."""
    from pymatgen.core.composition import Composition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of elements that have no electronegativity
        return str(Composition({SYMBOLS[z]: amount for z, amount in unit}).reduced_formula)


@lru_cache(maxsize=4096)
def _atoms(formula: str) -> float:
    """Atoms of a formula."""
    from pymatgen.core.composition import Composition

    return float(Composition(formula).num_atoms)


def count_atoms(numbers: Iterable[int]) -> NDArray[np.int64]:
    """(101,) how many atoms of each element there are among atomic numbers."""
    counts = np.zeros(MAX_Z + 1, dtype=np.int64)
    for z, count in Counter(numbers).items():
        counts[z] = count
    return counts
