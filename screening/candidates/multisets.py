"""Factors of a space: exact numberings of the elements on the sites of one role.

A factor turns ranks 0 … count - 1 into species and back. This file is pure combinatorics: it knows no chemistry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z

Species = NDArray[np.uint8]
Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Multiset:
    """The elements on sites of equal role, where order does not matter; for one site, a choice of its element.

    Ranks count up by the number of kinds, then by how often each kind occurs, then by the combination of elements
    (the combinatorial number system: colexicographic; Knuth, The Art of Computer Programming 4A, 7.2.1.3).

    Attributes:
        elements: Atomic numbers to choose from, ascending, so that a space does not depend on how they were named.
        size: How many sites there are.
        least_kinds: How many different elements there are at least.
        most_kinds: How many different elements there are at most.
    """

    elements: tuple[int, ...]
    size: int = 1
    least_kinds: int = 1
    most_kinds: int = 1

    def __post_init__(self) -> None:
        if list(self.elements) != sorted({z for z in self.elements if 1 <= z <= MAX_Z}):
            raise ValueError(f"elements must be ascending atomic numbers from 1 to {MAX_Z}, not {self.elements}")
        if not 1 <= self.least_kinds <= self.most_kinds:
            raise ValueError(f"{self.least_kinds} to {self.most_kinds} kinds of elements is no range")

    @property
    def count(self) -> int:
        """How many multisets there are, exactly."""
        return self._starts[-1]

    def unrank(self, ranks: Ranks) -> Species:
        """Species (n, size) of ranks (n,): the most frequent element first, ties by atomic number."""
        elements = np.array(self.elements, dtype=np.uint8)
        patterns = np.searchsorted(np.array(self._starts[1:]), ranks, side="right")
        species = np.empty((len(ranks), self.size), dtype=np.uint8)
        for number, kinds in enumerate(self._patterns):
            rows = np.flatnonzero(patterns == number)
            chosen = _unrank_combinations(ranks[rows] - self._starts[number], len(elements), kinds[-1] + 1)
            frequent_first = sorted(kinds, key=lambda kind: (-kinds.count(kind), kind))
            species[rows] = elements[chosen[:, frequent_first]]
        return species

    def rank(self, species: Species) -> Ranks:
        """Ranks (n,) of species (n, size) in any order; -1 where a row is not in the factor."""
        place = np.full(256, -1)
        place[list(self.elements)] = np.arange(len(self.elements))
        places = np.sort(place[species], axis=1)  # (n, size)
        kinds = np.cumsum(np.diff(places, axis=1, prepend=places[:, :1]) > 0, axis=1)  # (n, size)
        ranks = np.full(len(species), -1)
        for start, kind_of_site in zip(self._starts, self._patterns, strict=False):
            rows = np.flatnonzero((kinds == kind_of_site).all(axis=1) & (places[:, 0] >= 0))
            first_sites = np.flatnonzero(np.diff(kind_of_site, prepend=-1))
            ranks[rows] = start + _rank_combinations(places[rows][:, first_sites])
        return ranks

    @cached_property
    def _patterns(self) -> tuple[tuple[int, ...], ...]:
        """For each way to share the sites among kinds: the kind (0, 1, …) of each site, ascending."""
        return tuple(
            tuple(sum(gap <= site for gap in gaps) for site in range(self.size))
            for kinds in range(self.least_kinds, min(self.most_kinds, self.size) + 1)
            for gaps in combinations(range(1, self.size), kinds - 1)
        )

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """The first rank of each pattern, and the count."""
        starts = [0]
        for kind_of_site in self._patterns:
            starts.append(starts[-1] + math.comb(len(self.elements), kind_of_site[-1] + 1))
        return tuple(starts)


def _unrank_combinations(ranks: Ranks, n: int, k: int) -> Ranks:
    """The rank-th k-subset of 0 … n - 1, (len(ranks), k) ascending: rank = Σ comb(chosen[i], i + 1)."""
    chosen = np.empty((len(ranks), k), dtype=np.int64)
    for i in reversed(range(k)):
        below = _combinations_below(n, i + 1)
        chosen[:, i] = np.searchsorted(below, ranks, side="right") - 1
        ranks = ranks - below[chosen[:, i]]
    return chosen


def _rank_combinations(chosen: Ranks) -> Ranks:
    """The inverse of `_unrank_combinations`."""
    return sum(
        (_combinations_below(MAX_Z, i + 1)[chosen[:, i]] for i in range(chosen.shape[1])),
        start=np.zeros(len(chosen), dtype=np.int64),
    )


def _combinations_below(n: int, k: int) -> Ranks:
    """comb(c, k) for c = 0 … n."""
    return np.array([math.comb(c, k) for c in range(n + 1)], dtype=np.int64)
