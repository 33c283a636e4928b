"""Enumerated spaces, in which a candidate is an integer and nobody ever makes a list of candidates.

A space is a product of factors, the first the most significant: one `Multiset` for the sites of each role. A factor
turns ranks 0 … count - 1 into species and back; that part is pure combinatorics and knows no chemistry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number
from cgcnn.errors import UserError
from screening.candidates.compositions import Compositions, Species
from screening.chemistry.groups import group_members, stable_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike


Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Multiset:
    """The ways to put elements on sites of equal role, where order does not matter.

    Ranks count up by the number of kinds, then by how often each kind occurs, then by the combination of elements
    (the combinatorial number system: colexicographic; Knuth, The Art of Computer Programming 4A, 7.2.1.3).

    Attributes:
        elements: Atomic numbers to choose from, ascending, so that a space does not depend on the order of the names.
        size: Number of sites.
        least_kinds: Least number of different elements.
        most_kinds: Largest number of different elements.
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
        """The exact number of multisets."""
        return self._starts[-1]

    def unrank(self, ranks: Ranks) -> Species:
        """Return the species (n, size) of ranks (n,): the most frequent element first, ties by atomic number."""
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
        """Return the ranks (n,) of species (n, size) in any order; -1 where a row is not in the factor."""
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
    """Return the rank-th k-subset of 0 … n - 1, (len(ranks), k) ascending: rank = Σ comb(chosen[i], i + 1)."""
    chosen = np.empty((len(ranks), k), dtype=np.int64)
    for i in reversed(range(k)):
        below = _combinations_below(n, i + 1)
        chosen[:, i] = np.searchsorted(below, ranks, side="right") - 1
        ranks = ranks - below[chosen[:, i]]
    return chosen


def _rank_combinations(chosen: Ranks) -> Ranks:
    """Invert `_unrank_combinations`."""
    return sum(
        (_combinations_below(MAX_Z, i + 1)[chosen[:, i]] for i in range(chosen.shape[1])),
        start=np.zeros(len(chosen), dtype=np.int64),
    )


def _combinations_below(n: int, k: int) -> Ranks:
    """Tabulate comb(c, k) for c = 0 … n."""
    return np.array([math.comb(c, k) for c in range(n + 1)], dtype=np.int64)


MOST_CANDIDATES = 2**63 - 1
"""Candidates are addressed by int64."""


@dataclass(frozen=True)
class Space(Compositions):
    """A product of factors whose sites, side by side, are those of the prototype.

    Attributes:
        factors: Most significant first.
        records: None: the definition says it all.
        text_columns: None: these candidates come from no file.

    Raises:
        UserError: The space is empty, or larger than int64 can address.
    """

    factors: tuple[Multiset, ...]
    kind: ClassVar[str] = "space"
    records: ClassVar[None] = None
    text_columns: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.count == 0:
            raise UserError("The space is empty: these elements make no candidate. Name more elements.")
        if self.count > MOST_CANDIDATES:
            raise UserError(f"The space has {self.count:.3g} candidates, more than 2^63 - 1. Name fewer elements.")

    @cached_property
    def count(self) -> int:
        """The exact number of candidates."""
        return math.prod(factor.count for factor in self.factors)

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any], records: None = None) -> Self:  # noqa: ARG003  # as others have it
        """Make the space of a definition."""
        a, b, x = (tuple(map(atomic_number, definition[site])) for site in "abx")
        if definition["prototype"] == "double-perovskite":
            return cls(definition["prototype"], _factors_of_double(a, b, x))
        return cls(definition["prototype"], _factors_of_cubic(a, b, x, definition["anions"]))

    @property
    def definition(self) -> dict[str, Any]:
        """Prototype, symbols on the sites, and of ABX3 how many kinds of X one cell may have."""
        a, b, x = (list(symbols(factor.elements)) for factor in self.factors)
        sites = {"prototype": self.prototype, "a": a, "b": b, "x": x}
        return sites | ({"anions": self.factors[2].most_kinds} if self.factors[2].size > 1 else {})

    @property
    def name_columns(self) -> tuple[str, ...]:
        """A,B,X where X is one element; or all sites."""
        return self.ideal.role_names if self.definition.get("anions") == 1 else self.ideal.sites

    @property
    def n_sites(self) -> int:
        """The number of sites of a candidate."""
        return sum(factor.size for factor in self.factors)

    def decode(self, start: int, stop: int) -> Species:
        """Return the candidates [start, stop).

        Returns:
            (stop - start, n_sites) atomic numbers in the order of the prototype's sites, canonical.

        Raises:
            IndexError: The range is not within the space.
        """
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"[{start}, {stop}) is not within the {self.count} candidates of the space")
        return self.pick(start + np.arange(stop - start, dtype=np.int64))

    def pick(self, indices: Ranks) -> Species:
        """Return the candidates of indices (n,) within the space, as `decode` does."""
        parts: list[Species] = []
        for factor in reversed(self.factors):
            indices, ranks = np.divmod(indices, factor.count)
            parts.insert(0, factor.unrank(ranks))
        return np.hstack(parts)

    @property
    def mixes_anions(self) -> bool:
        """Whether a cell may have several elements on X."""
        return bool(self.definition.get("anions", 1) > 1)

    def encode(self, species: ArrayLike) -> Ranks:
        """Return the indices of candidates: the inverse of `decode`.

        Args:
            species: (n, n_sites) atomic numbers; sites of equal role in any order.

        Returns:
            (n,) int64.

        Raises:
            UserError: A row is not in the space.
        """
        rows = np.asarray(species, dtype=np.uint8).reshape(-1, self.n_sites)
        indices = np.zeros(len(rows), dtype=np.int64)
        edges = np.cumsum([factor.size for factor in self.factors])[:-1]
        for factor, sites in zip(self.factors, np.hsplit(rows, edges), strict=True):
            ranks = factor.rank(sites)
            if (ranks < 0).any():
                row = rows[np.argmin(ranks)]
                raise UserError(
                    f"{'-'.join(symbols(row.tolist()))} is not a candidate of this space. Check its elements."
                )
            indices = indices * factor.count + ranks
        return indices


def perovskites(a: Sequence[int], b: Sequence[int], x: Sequence[int], anions: int = 1) -> Space:
    """Span all cubic ABX3: every A with every B, and every multiset of three X of at most `anions` kinds.

    Args:
        a: Atomic numbers for A.
        b: Atomic numbers for B.
        x: Atomic numbers for X1, X2 and X3.
        anions: How many kinds of X one cell may have, 1 to 3.

    Raises:
        UserError: A site has no element.
    """
    return Space("cubic-perovskite", _factors_of_cubic(a, b, x, anions))


def double_perovskites(a: Sequence[int], b: Sequence[int], x: Sequence[int]) -> Space:
    """Span all double perovskites A2BB'X6: every A and X with every two different B, whose order does not matter.

    Args:
        a: Atomic numbers for A.
        b: Atomic numbers for B and B'.
        x: Atomic numbers for X.

    Raises:
        UserError: A site has no element, or there are no two for B and B'.
    """
    return Space("double-perovskite", _factors_of_double(a, b, x))


def _factors_of_cubic(a: Sequence[int], b: Sequence[int], x: Sequence[int], anions: int) -> tuple[Multiset, ...]:
    _refuse_empty_sites(a, b, x)
    return _multiset(a), _multiset(b), _multiset(x, size=3, most_kinds=anions)


def _factors_of_double(a: Sequence[int], b: Sequence[int], x: Sequence[int]) -> tuple[Multiset, ...]:
    _refuse_empty_sites(a, b, x)
    if len(set(b)) == 1:
        raise UserError(f"Only {symbols(b)[0]} for B and B'. Name two or more elements for `b`.")
    return _multiset(a), unordered_pair(b), _multiset(x)


def unordered_pair(elements: Sequence[int]) -> Multiset:
    """Make the factor of two sites with different elements in any order, such as B and B' of a double perovskite."""
    return _multiset(elements, size=2, least_kinds=2, most_kinds=2)


def _refuse_empty_sites(a: Sequence[int], b: Sequence[int], x: Sequence[int]) -> None:
    for site, elements in (("A", a), ("B", b), ("X", x)):
        if not elements:
            raise UserError(f"No element for site {site}. Name some for `{site.lower()}`.")


def _multiset(elements: Iterable[int], size: int = 1, least_kinds: int = 1, most_kinds: int = 1) -> Multiset:
    return Multiset(tuple(sorted(set(elements))), size, least_kinds, most_kinds)


def parse_elements(text: str | Iterable[str]) -> tuple[int, ...]:
    """Read element symbols and groups of elements as atomic numbers, each once, in the order given.

    Args:
        text: Symbols and groups (see `screening.chemistry.groups`), such as "Ca,Sr,lanthanides", or one by one. Groups
            stand for their members that are not radioactive; Pm or Tc take part if they are named.

    Raises:
        UserError: A name is neither an element up to Z = 100 nor a group, or there are no names at all.
    """
    named = [symbol.strip() for symbol in (text.split(",") if isinstance(text, str) else text)]
    if not any(named):
        raise UserError("No element is named. Name some by their symbols, such as Ca,Sr,Ba.")
    return tuple(dict.fromkeys(z for name in named for z in stable_members(name) or (atomic_number(name),)))


def radioactive_members(*texts: str | Iterable[str]) -> tuple[int, ...]:
    """Return the radioactive elements that `parse_elements` leaves out of the groups in these texts, ascending."""
    named = [symbol.strip() for text in texts for symbol in (text.split(",") if isinstance(text, str) else text)]
    left_out = {z for name in named for z in group_members(name) or ()} - set(parse_elements(named)) if named else set()
    return tuple(sorted(left_out))


def symbols(elements: Iterable[int]) -> tuple[str, ...]:
    """Return the symbols of atomic numbers, in the order given."""
    return tuple(SYMBOLS[z] for z in elements)
