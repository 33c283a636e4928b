"""Spaces of candidates, where a candidate is an integer and no list of candidates is ever made.

A space is a product of factors, the first the most significant: one `Multiset` for the sites of each role.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cgcnn.elements import SYMBOLS, atomic_number
from cgcnn.errors import UserError
from screening.candidates.compositions import OnPrototype
from screening.candidates.multisets import Multiset, Ranks, Species
from screening.chemistry.groups import group_members

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from screening.candidates.notes import Notes

MOST_CANDIDATES = 2**63 - 1
"""Candidates are addressed by int64."""


@dataclass(frozen=True)
class Space(OnPrototype):
    """All candidates of a screen: a product of factors whose sites, side by side, are those of the prototype.

    Attributes:
        prototype: Name of the prototype, such as "cubic-perovskite".
        factors: Most significant first.
        notes: What others have of these compositions, for rankings.
        records: None; a run keeps nothing of an enumerated space but its definition.
        text_columns: None; these candidates come from no file.

    Raises:
        UserError: The space is empty, or larger than int64 can address.
    """

    prototype: str
    factors: tuple[Multiset, ...]
    notes: tuple[Notes, ...] = field(default=(), compare=False)
    kind: ClassVar[str] = "space"
    records: ClassVar[None] = None
    text_columns: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.count == 0:
            raise UserError("The space is empty: no candidate can be made. Name more elements.")
        if self.count > MOST_CANDIDATES:
            raise UserError(f"The space has {self.count:.3g} candidates, more than 2^63 - 1. Name fewer elements.")

    @cached_property
    def count(self) -> int:
        """How many candidates there are, exactly."""
        return math.prod(factor.count for factor in self.factors)

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any], records: None = None) -> Self:  # noqa: ARG003  # as others have it
        """The space of a definition."""
        a, b, x = (_numbers(definition[site]) for site in "abx")
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
        """How many sites a candidate has."""
        return sum(factor.size for factor in self.factors)

    def decode(self, start: int, stop: int) -> Species:
        """The candidates [start, stop).

        Returns:
            (stop - start, n_sites) atomic numbers in the order of the prototype's sites, canonical.

        Raises:
            IndexError: The range is not within the space.
        """
        if not 0 <= start <= stop <= self.count:
            raise IndexError(f"[{start}, {stop}) is not within the {self.count} candidates of the space")
        return self.pick(start + np.arange(stop - start, dtype=np.int64))

    def pick(self, indices: Ranks) -> Species:
        """The candidates of indices (n,) within the space, as `decode` gives them."""
        parts: list[Species] = []
        for factor in reversed(self.factors):
            indices, ranks = np.divmod(indices, factor.count)
            parts.insert(0, factor.unrank(ranks))
        return np.hstack(parts)

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:  # noqa: ARG002  # as other kinds of candidates have it
        """Nothing: these candidates come from no file."""
        return {}

    def unusable(self, start: int, stop: int) -> dict[int, str]:  # noqa: ARG002  # likewise
        """Nothing: all are candidates."""
        return {}

    def noted(self, *notes: Notes) -> Self:
        """The same candidates with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def mixes_anions(self) -> bool:
        """Whether a cell may have several elements on X."""
        return bool(self.definition.get("anions", 1) > 1)

    def encode(self, species: ArrayLike) -> Ranks:
        """The indices of candidates: the inverse of `decode`.

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
    """All cubic ABX3: every A with every B, and every multiset of three X of at most `anions` kinds.

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
    """All double perovskites A2BB'X6: every A and X with every two different B, whose order does not matter.

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
    """Two sites with different elements where order does not matter, such as B and B' of a double perovskite."""
    return _multiset(elements, size=2, least_kinds=2, most_kinds=2)


def _refuse_empty_sites(a: Sequence[int], b: Sequence[int], x: Sequence[int]) -> None:
    for site, elements in (("A", a), ("B", b), ("X", x)):
        if not elements:
            raise UserError(f"No element for site {site}. Name some for `{site.lower()}`.")


def _multiset(elements: Iterable[int], size: int = 1, least_kinds: int = 1, most_kinds: int = 1) -> Multiset:
    return Multiset(tuple(sorted(set(elements))), size, least_kinds, most_kinds)


def parse_elements(text: str | Iterable[str]) -> tuple[int, ...]:
    """Atomic numbers of element symbols and groups of elements, each once, in the order given.

    Args:
        text: Symbols and groups (see `screening.chemistry.groups`), such as "Ca,Sr,lanthanides", or one by one.

    Raises:
        UserError: A symbol is no element up to Z = 100 and no group, or there is none at all.
    """
    named = [symbol.strip() for symbol in (text.split(",") if isinstance(text, str) else text)]
    if not any(named):
        raise UserError("No element is named. Name some by their symbols, such as Ca,Sr,Ba.")
    return tuple(dict.fromkeys(z for name in named for z in group_members(name) or (atomic_number(name),)))


def _numbers(named: Iterable[str]) -> tuple[int, ...]:
    return tuple(atomic_number(symbol) for symbol in named)


def symbols(elements: Iterable[int]) -> tuple[str, ...]:
    """Symbols of atomic numbers, in the order given."""
    return tuple(SYMBOLS[z] for z in elements)
