"""Competing phases of the user's own: the convex hull that they make, and how far a candidate is above it.

`screening.chemistry.entries` reads the files and checks that their energies belong together.

Shapes: M phases, one for each composition; 101 elements by atomic number.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from screening.chemistry.entries import Source, Unit, check_energies, read_entries
from screening.chemistry.sources import formation_energies, read_ground_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Counts = NDArray[np.integer[Any]]
    Paths = str | Path | Sequence[str | Path]
    """A file or folder of competing phases, or several."""

TRACE = 1e-6
"""Share of atoms below which a phase is no product."""
SMALL, OFF = 1e-10, 1e-9
"""What counts as zero in the search for a mixture, and how far compositions are moved off lines, relatively."""
AT_ONCE = 512
"""Mixtures that are searched at once: more need more memory."""
WORTH = 0.1
"""Difference between two formation energies of one compound, eV/atom, from which it is worth a warning."""


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
    """Competing phases: the lowest of each composition.

    Attributes:
        units: (M) atomic numbers and how many atoms of each a formula unit has.
        energies: (M,) eV/atom, with whatever corrections the entries have.
        source: Where they come from.
        exclude_self: Leave the compound itself out of the hull that it is compared with, so that a stable one gets how
            far it lies below the others, as a negative distance.
    """

    units: tuple[Unit, ...]
    energies: Floats
    source: Source
    exclude_self: bool = False

    @cached_property
    def references(self) -> Floats:
        """(101,) lowest energy of each element by itself, eV/atom; NaN where there is none."""
        found = np.full(MAX_Z + 1, np.nan)
        for unit, energy in zip(self.units, self.energies.tolist(), strict=True):
            if len(unit) == 1:
                found[unit[0][0]] = energy
        return found

    @cached_property
    def formation_energies(self) -> Floats:
        """(M,) eV/atom; NaN of phases with an element of which there is no reference."""
        return formation_of(self.units, self.energies, self.references)

    def formation_energy(self, counts: Counts, energy: float) -> float:
        """Compute the formation energy, eV/atom, of atoms (101,) by element with this energy, eV/atom.

        Raises:
            UserError: An element is missing among the phases.
        """
        self.check(counts)
        there = counts > 0
        return float(energy - (counts[there] * self.references[there]).sum() / counts.sum())

    def distance(self, counts: Counts, formation_energy: float) -> Distance:
        """Compute how far above the hull atoms (101,) by element with this formation energy, eV/atom, are.

        Raises:
            UserError: Elements, or all compounds of them, are missing among the phases.
        """
        self.check(counts)
        (hull,) = self.hulls(counts[None])
        return Distance(formation_energy - hull.energy, hull.products)

    def hulls(self, counts: Counts) -> list[Distance]:
        """Return the hull at each of atoms (n, 101) by element, all of which it covers.

        Its energy, eV/atom, and products.

        They are kept, as a ranking asks twice.
        """
        atoms = [tuple(row) for row in counts.tolist()]
        if missing := [row for row in dict.fromkeys(atoms) if row not in self._hulls]:
            numbers = np.array(missing)
            energies, rows, amounts = self.lowest(numbers)
            for key, energy, of, much in zip(missing, energies.tolist(), rows.tolist(), amounts, strict=True):
                total = sum(key)
                there = [i for i in np.argsort(-much).tolist() if much[i] > TRACE]
                names = [name_unit(self.units[of[i]]) for i in there]
                parts = [float(much[i] * total / _atoms(name)) for i, name in zip(there, names, strict=True)]
                self._hulls[key] = Distance(energy, dict(zip(names, parts, strict=True)))
        return [self._hulls[row] for row in atoms]

    def lowest(
        self, counts: Counts, leave_out: NDArray[np.int64] | None = None
    ) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Find the mixture of phases with the lowest energy at each of atoms (n, 101) by element.

        Args:
            counts: Of systems that the phases cover.
            leave_out: (n,) a phase that is not to be used, for each; -1 for none.

        Returns:
            (n,) energy, eV/atom; (n, d) phases, with d the most elements of a row, and -1 beyond those of a row; and
            (n, d) the share of the atoms that each has.
        """
        sizes = (counts > 0).sum(axis=1)
        energies, width = np.empty(len(counts)), int(sizes.max(initial=1))
        phases, amounts = np.full((len(counts), width), -1), np.zeros((len(counts), width))
        for size in np.unique(sizes).tolist():
            of_size = np.flatnonzero(sizes == size)
            for at in np.array_split(of_size, -(-len(of_size) // AT_ONCE)):
                energies[at], phases[at, :size], amounts[at, :size] = self._solve(
                    counts[at], size, None if leave_out is None else leave_out[at]
                )
        return energies, phases, amounts

    def _solve(
        self, counts: Counts, size: int, leave_out: NDArray[np.int64] | None
    ) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Solve as `lowest` does, for atoms (n, 101) of `size` elements each."""
        elements = np.nonzero(counts)[1].reshape(-1, size)
        share = np.take_along_axis(counts, elements, axis=1) / counts.sum(axis=1, keepdims=True)
        systems = [self._system(tuple(row)) for row in elements.tolist()]
        lengths = np.array([len(rows) for rows, _ in systems])
        there = np.arange(lengths.max()) < lengths[:, None]  # (n, m)
        rows = np.zeros(there.shape, dtype=np.int64)
        shares = np.zeros((*there.shape, size))
        rows[there] = np.concatenate([rows for rows, _ in systems])
        shares[there] = np.concatenate([shares for _, shares in systems])
        usable = there.copy()
        if self.exclude_self:
            usable &= np.abs(shares - share[:, None]).max(axis=2) > TRACE
        if leave_out is not None:
            usable &= rows != leave_out[:, None]
        energy = np.where(usable, self.formation_energies[rows], np.inf)
        start = np.stack([(shares[:, :, k] > 1 - TRACE).argmax(axis=1) for k in range(size)], axis=1)
        values, basis, amounts = solve_mixtures(energy, shares, share, start)
        return values, np.take_along_axis(rows, basis, axis=1), amounts

    def missing(self, counts: Counts) -> str:
        """Say what the phases lack to compare atoms (101,) by element with: elements, or a system; empty if nothing."""
        there = tuple(np.flatnonzero(counts).tolist())
        alone = [SYMBOLS[z] for z in there if np.isnan(self.references[z])]
        if alone:
            return f"no entry of {', '.join(alone)} alone"
        lacking = self._without_compounds(there)
        which = f"{', '.join(SYMBOLS[z] for z in lacking)} in " if len(lacking) < len(there) else ""
        return f"no compound of {which}the system {name_system(there)}" if lacking else ""

    def _without_compounds(self, elements: tuple[int, ...]) -> tuple[int, ...]:
        """Return the elements of a system that no compound in it has: a hull would take them for unreactive."""
        rows, shares = self._system(elements)
        compounds = np.array([len(self.units[row]) > 1 for row in rows.tolist()], dtype=bool)
        having = (shares[compounds] > 0).any(axis=0)
        return tuple(z for z, has in zip(elements, having.tolist(), strict=True) if not has)

    def check(self, counts: Counts) -> None:
        """Refuse atoms (101,) by element whose chemical system the phases do not cover.

        Raises:
            UserError: Naming the elements, or the system.
        """
        if what := self.missing(counts):
            system = name_system(np.flatnonzero(counts).tolist())
            more = f", of which energies of {system} are counted" if "alone" in what else ""
            raise UserError(f"`competing_phases` {self.source.path}: {what}{more}. Add the entries of {system}.")

    def uncovered(self, candidates: Mapping[tuple[int, ...], int]) -> list[str]:
        """Say which elements and systems the phases lack.

        Args:
            candidates: Atomic numbers of the elements -> how many candidates have just these.

        Raises:
            UserError: They cover no candidate.
        """
        lacking = {elements for elements in candidates if self.missing(count_atoms(elements))}
        if not lacking:
            return []
        alone = sorted({z for elements in lacking for z in elements if np.isnan(self.references[z])})
        what = [f"no entry of {', '.join(SYMBOLS[z] for z in alone)} alone"] if alone else []
        systems: dict[str, list[str]] = {}
        for elements in lacking:
            if not set(alone).intersection(elements):
                some = self._without_compounds(elements)
                which = f"{', '.join(SYMBOLS[z] for z in some)} in " if len(some) < len(elements) else ""
                systems.setdefault(which, []).append(name_system(elements))
        for which, names in sorted(systems.items()):
            what.append(f"no compound of {which}the system{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}")
        said = f"`competing_phases` {self.source.path}: {'; '.join(what)}"
        if lacking == candidates.keys():
            raise UserError(f"{said}. No candidate can be compared with these phases; add what is missing.")
        left = sum(candidates[elements] for elements in lacking)
        return [f"{said}; {left:,} of {sum(candidates.values()):,} candidates are not compared"]

    def compare_known(self) -> list[str]:
        """Warn of formation energies that differ from known ones on the scale of MP2020.

        For hulls that are compared with energies on this scale.
        """
        table = formation_energies()
        own = zip(self.units, self.formation_energies.tolist(), strict=True)
        pairs = [(unit, energy, table[unit][0]) for unit, energy in own if table.get(unit, (0, False))[1]]
        return list(compare(pairs, "the Materials Project has (MP2020)"))

    def _system(self, elements: tuple[int, ...]) -> tuple[NDArray[np.int64], Floats]:
        """Return the phases of a chemical system, and their shares of its elements."""
        if elements not in self._systems:
            (low,), (high,) = ~_masks([elements])
            rows = np.flatnonzero((self._masks[0] & low | self._masks[1] & high) == 0)
            starts, lengths, numbers, parts = self._flat
            which = np.repeat(np.arange(len(rows)), lengths[rows])
            flat = np.repeat(starts[rows] - np.cumsum(lengths[rows]) + lengths[rows], lengths[rows])
            flat += np.arange(len(flat))
            shares = np.zeros((len(rows), len(elements)))
            shares[which, np.searchsorted(elements, numbers[flat])] = parts[flat]
            self._systems[elements] = rows, shares
        return self._systems[elements]

    @cached_property
    def _flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
        """Where each phase starts among the elements of all (M,), how many it has (M,); atomic numbers, shares."""
        lengths = np.array([len(unit) for unit in self.units], dtype=np.int64)
        numbers = np.array([z for unit in self.units for z, _ in unit], dtype=np.int64)
        amounts = np.array([amount for unit in self.units for _, amount in unit], dtype=np.float64)
        starts = np.cumsum(lengths) - lengths
        return starts, lengths, numbers, amounts / np.repeat(np.add.reduceat(amounts, starts), lengths)

    @cached_property
    def _masks(self) -> NDArray[np.uint64]:
        return _masks([[z for z, _ in unit] for unit in self.units])

    @cached_property
    def _hulls(self) -> dict[tuple[int, ...], Distance]:
        return {}

    @cached_property
    def _systems(self) -> dict[tuple[int, ...], tuple[NDArray[np.int64], Floats]]:
        return {}


def solve_mixtures(
    energies: Floats, shares: Floats, targets: Floats, start: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Find mixtures of the lowest energy, n at a time, with the simplex algorithm.

    Args:
        energies: (n, m) of phases; inf of those not to be used.
        shares: (n, m, d) elements of which they are.
        targets: (n, d) elements of the mixtures.
        start: (n, d) which phase is each element alone.

    Returns:
        (n,) energies, (n, d) which phases, (n, d) how much of each.

    A composition on the line between two phases is a degenerate corner, at which the algorithm could walk in circles:
    it works with compositions off by less than rounding matters, which are on no line, and gives the energy of the
    right ones, for which the last prices hold too.
    """
    count, size = targets.shape
    each = np.arange(count)
    basis = start.copy()
    inverse = np.broadcast_to(np.eye(size), (count, size, size)).copy()
    off = targets * (1 + OFF * np.sqrt(np.arange(2, size + 2)))
    costs = np.take_along_axis(energies, basis, axis=1)
    open_ = each
    prices = np.empty((count, size))
    while len(open_):
        prices[open_] = np.einsum("nk,nkd->nd", costs[open_], inverse[open_])
        gains = energies[open_] - np.einsum("nmd,nd->nm", shares[open_], prices[open_])
        enter = gains.argmin(axis=1)
        better = gains[np.arange(len(open_)), enter] < -SMALL
        open_, enter = open_[better], enter[better]
        if not len(open_):
            break
        column = np.einsum("nkd,nd->nk", inverse[open_], shares[open_, enter])
        amounts = np.einsum("nkd,nd->nk", inverse[open_], off[open_])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(column > SMALL, amounts / column, np.inf)
        leave = ratios.argmin(axis=1)
        rows = np.arange(len(open_))
        pivot = inverse[open_, leave] / column[rows, leave][:, None]
        changed = inverse[open_] - column[:, :, None] * pivot[:, None]
        changed[rows, leave] = pivot
        inverse[open_] = changed
        basis[open_, leave] = enter
        costs[open_, leave] = energies[open_, enter]
    return (prices * targets).sum(axis=1), basis, np.einsum("nkd,nd->nk", inverse, targets)


def read_phases(paths: Paths, *, exclude_self: bool = False, by_dft: bool = True) -> Phases:
    """Read competing phases.

    Args:
        paths: A file, several, or folders; see `screening.chemistry.entries`.
        exclude_self: As of `Phases`.
        by_dft: Energies are those of DFT, so that none may be far from what is known of a compound; not of a potential.

    Raises:
        UserError: They cannot be read, hold no entries, or energies that do not belong together.
    """
    given = listed(paths)
    return replace(_read_once(given, tuple(map(_stamp, given)), by_dft), exclude_self=exclude_self)


def listed(paths: Paths | None) -> tuple[Path, ...]:
    """List paths that may be one, several or none."""
    return () if paths is None else tuple(map(Path, [paths] if isinstance(paths, (str, Path)) else paths))


def _stamp(path: Path) -> tuple[float, ...]:
    """Return a stamp that changes when a file, or one of a folder, is written."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.exists()]
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=1)
def _read_once(paths: tuple[Path, ...], stamps: tuple[tuple[float, ...], ...], by_dft: bool) -> Phases:  # noqa: ARG001, FBT001  # a key
    """Read phases, once for the plan and for the ranking."""
    entries = read_entries(paths)
    each = entries.energies / entries.atoms
    order = np.lexsort((each, entries.unit))  # the lowest of each composition first
    best = order[np.unique(entries.unit[order], return_index=True)[1]]
    phases = Phases(tuple(entries.units), each[best], entries.source)
    formation = each - (phases.energies - phases.formation_energies)[entries.unit]
    kept, notes = check_energies(entries, formation, phases.references, compare=by_dft)
    if not kept.all():
        order = order[kept[order]]
        compositions, first = np.unique(entries.unit[order], return_index=True)
        units = tuple(entries.units[u] for u in compositions.tolist())
        phases = replace(phases, units=units, energies=each[order[first]])
    return replace(phases, source=replace(entries.source, notes=(*entries.notes, *notes)))


@lru_cache(maxsize=1)
def ground_states() -> Phases:
    """Read the shipped ground states of the Materials Project, 2019, formation energies on the scale of 2020.

    What they are compared with is left out of its own hull: a compound of 2019 gets how far it lies below the others.
    """
    table = read_ground_states()
    source = Source("ground states of the Materials Project", "", "2019", len(table), "GGA, GGA+U", "MP2020")
    return Phases(tuple(table), np.array(list(table.values())), source, exclude_self=True)


def formation_of(units: Sequence[Unit], energies: Floats, references: Floats) -> Floats:
    """Return (M,) formation energies, eV/atom, of formula units with these energies, eV/atom.

    (101,) those of the elements.
    """
    lengths = np.array([len(unit) for unit in units])
    numbers, amounts = (np.array([pair[k] for unit in units for pair in unit]) for k in (0, 1))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    of_elements = np.add.reduceat(references[numbers] * amounts, starts) / np.add.reduceat(amounts, starts)
    return np.asarray(energies - of_elements)


def compare(pairs: Sequence[tuple[Unit, float, float]], whose: str) -> Iterator[str]:
    """Say where formation energies of a file differ from those of another source.

    Args:
        pairs: Compound, its formation energy in the file, and elsewhere, eV/atom.
        whose: The other source, in words: "where WHOSE".
    """
    if not pairs:
        return
    differences = np.array([mine - other for _, mine, other in pairs])
    middle = float(np.median(differences))
    both = f"of {len(pairs):,} compounds that both have" if len(pairs) > 1 else "of the one compound that both have"
    told = f"{both}, formation energies in the file differ from those that {whose}"
    if abs(middle) > WORTH or (len(pairs) > 2 and np.median(np.abs(differences)) > WORTH):
        yield f"{told} by {middle:+.3f} eV/atom in the median; {_worst(pairs)}"
        return
    by_element: dict[int, list[int]] = {}
    for i, (unit, _, _) in enumerate(pairs):
        for z, _ in unit:
            by_element.setdefault(z, []).append(i)
    off = {z: float(np.median(differences[rows])) for z, rows in by_element.items()}
    named = [f"{SYMBOLS[z]} {off[z]:+.3f}" for z in sorted(off, key=lambda z: -abs(off[z])) if abs(off[z]) > WORTH]
    if named:
        rows = [i for i, difference in enumerate(differences) if abs(difference) > WORTH]
        yield f"{told}, with {', '.join(named)} eV/atom in the median; {_worst([pairs[i] for i in rows])}"


def _worst(pairs: Sequence[tuple[Unit, float, float]]) -> str:
    unit, mine, other = max(pairs, key=lambda pair: abs(pair[1] - pair[2]))
    return f"{name_unit(unit)} has {mine:+.3f} in the file, {other:+.3f} there"


def _masks(sets: Sequence[Sequence[int]]) -> NDArray[np.uint64]:
    """Return (2, n) a bit for each element of a set, up to 63 and beyond."""
    bits = [sum(1 << z for z in part) for part in sets]
    return np.array([[part % (1 << 64) for part in bits], [part >> 64 for part in bits]], dtype=np.uint64)


def name_system(numbers: Iterable[int]) -> str:
    """Name a chemical system, such as ``Ca-O-Ti``."""
    return "-".join(sorted(SYMBOLS[z] for z in numbers))


@lru_cache(maxsize=4096)
def name_unit(unit: Unit) -> str:
    """Name a formula unit by its reduced formula, as pymatgen does."""
    from pymatgen.core.composition import Composition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of elements that have no electronegativity
        return str(Composition({SYMBOLS[z]: amount for z, amount in unit}).reduced_formula)


@lru_cache(maxsize=4096)
def _atoms(formula: str) -> float:
    """Count the atoms of a formula."""
    from pymatgen.core.composition import Composition

    return float(Composition(formula).num_atoms)


def atoms_by_element(atoms: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Count the atoms of each element, (n, 101), in cells whose atoms (n, k) are atomic numbers."""
    counts = np.zeros((len(atoms), MAX_Z + 1), dtype=np.int64)
    np.add.at(counts, (np.arange(len(atoms))[:, None], atoms), 1)
    return counts


def count_atoms(numbers: Iterable[int]) -> NDArray[np.int64]:
    """Count the atoms of each element, (101,), among atomic numbers."""
    counts = np.zeros(MAX_Z + 1, dtype=np.int64)
    for z, count in Counter(numbers).items():
        counts[z] = count
    return counts
