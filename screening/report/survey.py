"""A run as a whole: distributions, and the best of each element and pair, in bounded memory.

A survey watches the blocks on their way to the ranking.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z
from screening.ranking.table import Picked
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from screening.candidates.kind import Candidates
    from screening.ranking.table import Columns

STEP = 0.02
"""Width of the histogram's bins, eV/atom."""
LOWEST, HIGHEST = -1.0, 5.0
"""Range of the histogram, eV/atom; energies outside count in the first or last bin."""

NEEDED = ("index", "e_above_hull", "e_above_hull_std", "atoms")
"""Columns that the best of a kind needs."""


class Best:
    """The candidate of lowest energy of each kind, such as of each pair of elements.

    Attributes:
        energy: (k,) lowest predicted energy above hull, eV/atom; infinite where there is no candidate.
        deviation: (k,) its standard deviation.
        index: (k,) its index; the first of several equal ones.
        atoms: (k, …) its row of `species`, or for structures of `composition`.
    """

    def __init__(self, kinds: int) -> None:
        self.energy = np.full(kinds, np.inf)
        self.deviation = np.full(kinds, np.nan)
        self.index = np.zeros(kinds, dtype=np.int64)
        self.atoms = np.zeros((kinds, 0), dtype=np.uint8)

    def add(self, kind: NDArray[np.intp], rows: Columns) -> None:
        """Take n rows, with `atoms` and ascending `index`, of the kinds (n,) into account."""
        energy = rows["e_above_hull"].astype(np.float64)
        lower = np.flatnonzero(energy < self.energy[kind])
        order = lower[np.lexsort((-rows["index"][lower], -energy[lower]))]  # the last one of a kind stays
        if not self.atoms.size:
            self.atoms = np.zeros((len(self.energy), rows["atoms"].shape[1]), dtype=rows["atoms"].dtype)
        self.energy[kind[order]] = energy[order]
        self.deviation[kind[order]] = rows["e_above_hull_std"][order]
        self.index[kind[order]] = rows["index"][order]
        self.atoms[kind[order]] = rows["atoms"][order]

    @property
    def there(self) -> NDArray[np.intp]:
        """The kinds that have a candidate."""
        return np.flatnonzero(np.isfinite(self.energy))


class ByElement:
    """Counts of the candidates that hold each element in a role, or anywhere, and the best of them.

    Attributes:
        columns: Columns of `species` whose elements count; without any, all elements of `composition` do.
        count: (101,) candidates.
        expected: (101,) expected number of stable ones, the sum of their `p_stable`.
        best: The best of each element.
    """

    def __init__(self, columns: tuple[int, ...]) -> None:
        self.columns = columns
        self.count = np.zeros(MAX_Z + 1, dtype=np.int64)
        self.expected = np.zeros(MAX_Z + 1)
        self.best = Best(MAX_Z + 1)

    def add(self, rows: Columns) -> None:
        """Take rows into account."""
        row, element = self._held(rows)
        self.count += np.bincount(element, minlength=MAX_Z + 1)
        self.expected += np.bincount(element, np.nan_to_num(rows["p_stable"][row]), minlength=MAX_Z + 1)
        self.best.add(element, {name: rows[name][row] for name in NEEDED})

    def _held(self, rows: Columns) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """List row and atomic number of each element that a row holds, each once."""
        if not self.columns:
            row, element = np.nonzero(rows["atoms"])
            return row, element
        species = rows["atoms"][:, self.columns].astype(np.intp)  # (n, k)
        new = np.array([(species[:, [i]] != species[:, :i]).all(axis=1) for i in range(species.shape[1])])  # (k, n)
        row, column = np.nonzero(new.T)
        return row, species[row, column]


@dataclass
class Survey:
    """Counts and extremes of the scored candidates of a run.

    Attributes:
        threshold: Energy above hull, eV/atom, up to which a candidate counts as stable.
        pair: The two sites of the map, see `map_sites`, and their columns in `species`; empty without a map.
        roles: Role → its columns of `species`; one without columns is of all elements of a structure.
        scored: Candidates with a prediction.
        below: Candidates predicted at or below the threshold.
        near: Candidates near the model's training: it knows all of their elements, and their anions together.
        expected: Sum of `p_stable` over all.
        histogram: Candidates by energy above hull, in bins of `STEP` from `LOWEST` on.
        pairs: The best of each pair of elements a and b, as a · 101 + b, among those near the training.
        elements: Role → what becomes of each element there, among those near the training.
    """

    threshold: float
    pair: Mapping[str, int]
    roles: Mapping[str, tuple[int, ...]]
    scored: int = 0
    below: int = 0
    near: int = 0
    expected: float = 0.0
    histogram: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(round((HIGHEST - LOWEST) / STEP), dtype=np.int64)
    )
    pairs: Best = field(default_factory=lambda: Best((MAX_Z + 1) ** 2))
    elements: dict[str, ByElement] = field(init=False)

    def __post_init__(self) -> None:
        self.elements = {role: ByElement(columns) for role, columns in self.roles.items()}

    def watch(self, blocks: Iterable[tuple[int, Columns]]) -> Iterator[tuple[int, Columns]]:
        """Pass blocks on unchanged, taking each into account."""
        for start, rows in blocks:
            self._add(Picked(rows, np.flatnonzero(rows["status"] == Status.OK), start))
            yield start, rows

    def _add(self, rows: Columns) -> None:
        energy = rows["e_above_hull"].astype(np.float64)
        self.scored += len(energy)
        self.below += int((energy <= self.threshold).sum())
        self.expected += float(np.nansum(rows["p_stable"], dtype=np.float64))
        bins = np.floor((energy - LOWEST) / STEP).astype(np.int64).clip(0, len(self.histogram) - 1)
        self.histogram += np.bincount(bins, minlength=len(self.histogram))
        near = _near(rows)
        self.near += len(near)
        atoms = rows["species" if "species" in rows else "composition"]
        kept = {name: rows[name][near] for name in ("p_stable", *NEEDED[:-1])} | {"atoms": atoms[near]}
        for by_element in self.elements.values():
            by_element.add(kept)
        if self.pair:
            first, second = (kept["atoms"][:, column].astype(np.intp) for column in self.pair.values())
            self.pairs.add(first * (MAX_Z + 1) + second, kept)


def map_sites(candidates: Candidates) -> dict[str, int]:
    """Return the sites that a map is of, B and B' if there is a B', else A and B; and their columns in `species`."""
    groups = candidates.site_groups
    return {site: groups[site][0] for site in (("B", "B'") if "B'" in groups else ("A", "B")) if site in groups}


def _near(rows: Columns) -> NDArray[np.intp]:
    """Find the rows that are near the training of the model."""
    near = rows["in_domain"]
    return np.flatnonzero(near & ~(rows["domain_distance"] > 0) if "domain_distance" in rows else near)
