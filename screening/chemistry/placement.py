"""Which element may sit on which site of a perovskite, worked out from charges, radii and electronegativities."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, Prototype
from screening.chemistry.descriptors import LEAST_OCTAHEDRAL, TOLERANCE, tolerance_factor
from screening.chemistry.groups import GROUPS
from screening.chemistry.ions import Flags, electronegativities, sites_of, tables
from screening.chemistry.oxidation import DEFAULT_SET, MOST_RELUCTANCE, USUAL, mixed_reluctances, reluctances
from screening.chemistry.radii import shannon

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from screening.chemistry.sources import Floats


@dataclass(frozen=True)
class Limits:
    """What an ABX3 may be like.

    Attributes:
        a_radius: Least radius of A with twelve neighbours, Å.
        a_charge: Largest charge on A.
        excess: By how much A may be charged higher than B.
        octahedral: Least rB/rX.
    """

    a_radius: float = 1.0
    a_charge: int = 3
    excess: int = 0
    octahedral: float = LEAST_OCTAHEDRAL


USUAL_LIMITS = Limits()
"""Sc3+ (1.05 Å), the smallest A of a perovskite made without much pressure (ScAlO3), may sit on A; Al3+, Ga3+ and Fe3+
may not. Quadrivalent cations sit on B."""

WIDE_LIMITS = Limits(a_charge=4, excess=2, octahedral=0.28)
"""Tried last, for elements that have no place yet: Th4+ on A (ThTaN3), Pb4+ beside Ni2+ (PbNiO3, Inaguma et al., J. Am.
Chem. Soc. 2011, 133, 16920), Ge2+ beside iodide (CsGeI3, 0.33), Si4+ beside oxide (MgSiO3 of the earth's mantle,
0.29)."""

MOST_ANION_KINDS = 3
"""How many anions are mixed on X in search of a place for an element."""

LEVELS = (
    (USUAL_LIMITS, USUAL),
    (USUAL_LIMITS, MOST_RELUCTANCE[DEFAULT_SET]),
    (WIDE_LIMITS, MOST_RELUCTANCE[DEFAULT_SET]),
)
"""Limits, and reluctances up to which states of B are tried, one after the other. Doubles have the usual limits."""

LEAST_A_RADIUS_IN_DOUBLE = 1.15
"""Å, likewise: Lu3+ (1.17, as in Lu2NiMnO6) may sit there; Mg2+, Fe2+ and Li+ share B instead."""

LEAST_OCTAHEDRAL_OF_TWO = 0.33
"""rB/rX below which a cation holds no anion octahedron beside a larger one on B'; Cs2AgCrCl6 has 0.34."""


@dataclass(frozen=True)
class Sites:
    """Atomic numbers for each site, in the order in which the elements were named.

    Attributes:
        A: Elements for A.
        B: Elements for B, and for B' of a double perovskite.
        X: Elements for X.
        unplaced: Elements that fit nowhere.
    """

    A: tuple[int, ...]
    B: tuple[int, ...]
    X: tuple[int, ...]
    unplaced: tuple[int, ...]


@dataclass(frozen=True)
class _Cations:
    """Ions that may sit on a site: arrays of atomic number, charge, reluctance and radii (Å).

    The reluctance (see `oxidation`) is that beside the anion that suits the ion best.

    The radii are those with twelve neighbours, as on A, and with six, as on B.
    """

    z: NDArray[np.int64]
    charge: NDArray[np.int64]
    reluctance: Floats
    twelve: Floats
    six: Floats

    def where(self, kept: Flags | NDArray[np.int64]) -> _Cations:
        return _Cations(*(getattr(self, field.name)[kept] for field in fields(self)))


def assign_sites(elements: Sequence[int], prototype: Prototype = CUBIC_PEROVSKITE) -> Sites:
    """Find the sites of a perovskite where each element may sit.

    X takes the elements with an ionic radius as an anion. A cation may sit on a site if some perovskite of the named
    elements has it there: of different cations, with balanced charges, cations less electronegative than the anions,
    A larger than B, no more charge on A than on B, and t, rB/rX and rA within limits (`TOLERANCE` and those of this
    module). A takes only usual oxidation states that Shannon's table knows; B alone may have a mixed valence (CsAuCl3).
    The likely come first: X of one element, then (ABX3 only) of two and three; in each case B in a usual state, then in
    others, then (ABX3 of one X) within `WIDE_LIMITS`. What is less likely gives sites only to cations that have none
    yet. (Otherwise some rare oxyfluoride would put Ca on B of every titanate.)

    Args:
        elements: Atomic numbers.
        prototype: One site B stands for ABX3, two for A2BB'X6.

    Raises:
        UserError: A site gets no element.
    """
    double = len(sites_of("B", prototype)) == 2
    anions, ions = _anions(elements), _cations(elements, mixed=not double)
    b = _b_cations(ions, anions)
    on: dict[str, set[int]] = {"A": set(), "B": set(), "X": set()}
    for kinds, (limits, reluctance) in product(range(1, 1 + (1 if double else MOST_ANION_KINDS)), LEVELS):
        if limits is WIDE_LIMITS and (double or kinds > 1):
            continue
        a = _a_cations(ions, limits)
        may_a = a.where(_either_in_or_new(a.z, on["A"], on["B"]))
        may_b = b.where(_either_in_or_new(b.z, on["B"], on["A"]) & (b.reluctance <= reluctance))
        for x in _anion_sets(anions, kinds):
            fits = _fit_in_double(may_a, may_b, x) if double else _fit(may_a, may_b, x, limits)  # (A ions, B ions)
            on["A"].update(may_a.z[fits.any(axis=1)].tolist())
            on["B"].update(may_b.z[fits.any(axis=0)].tolist())
            on["X"].update(x if fits.any() else ())
    if not on["X"]:
        site = "X" if not anions else "A" if not len(_a_cations(ions, WIDE_LIMITS).z) else "B"
        raise _no_perovskite(elements, site, double=double)
    placed = {role: tuple(z for z in elements if z in on[role]) for role in on}
    return Sites(**placed, unplaced=tuple(z for z in elements if not any(z in on[role] for role in on)))


def _either_in_or_new(z: NDArray[np.int64], on_this: set[int], on_other: set[int]) -> Flags:
    """Tell which elements (n,) sit on this site already, or on neither."""
    return np.isin(z, list(on_this)) | ~np.isin(z, list(on_other))


def _anion_sets(anions: Sequence[int], kinds: int) -> Iterator[list[int]]:
    """Return the anions of an ABX3, of so many kinds; of one kind, they stand for those of any formula."""
    return (list(x) for x in combinations_with_replacement(anions, 3) if len(set(x)) == kinds)


def _fit(a: _Cations, b: _Cations, x: list[int], limits: Limits) -> Flags:
    """Check whether each A with each B makes an ABX3 of these three anions, (A ions, B ions)."""
    ions = tables()
    r_x = ions.radius["X"][x].mean(keepdims=True)  # (1,)
    fits = _tolerated(a.twelve[:, None], b.six, r_x, limits.octahedral)
    fits &= (a.twelve[:, None] > b.six) & (a.z[:, None] != b.z)
    fits &= a.charge[:, None] + b.charge + ions.anion_charge[x].sum() == 0
    fits &= a.charge[:, None] <= b.charge + limits.excess
    fits &= _electropositive(a, x)[:, None] & _electropositive(b, x)
    return np.asarray(fits, dtype=bool)


def _fit_in_double(a: _Cations, b: _Cations, x: list[int]) -> Flags:
    """Check whether each A with each B, and some B', makes an A2BB'X6 of these anions of one kind, (A ions, B ions)."""
    ions = tables()
    r_x = ions.radius["X"][x].mean(keepdims=True)  # (1,)
    a_fits = _electropositive(a, x) & (a.twelve >= LEAST_A_RADIUS_IN_DOUBLE)
    b_fits = _electropositive(b, x) & (b.six / r_x >= LEAST_OCTAHEDRAL_OF_TWO)
    fits = np.zeros((len(a.z), len(b.z)), dtype=bool)
    for charge in np.unique(a.charge):
        both = -2 * int(ions.anion_charge[x].sum()) - 2 * charge  # of B and B'; three anions are half a formula
        pairs = np.triu(b.charge[:, None] + b.charge == both) & (b.z[:, None] != b.z) & b_fits[:, None] & b_fits
        first, second = np.nonzero(pairs)
        of_a = np.flatnonzero((a.charge == charge) & a_fits & (2 * charge <= both))
        large = a.twelve[of_a, None]
        fit = _tolerated(large, (b.six[first] + b.six[second]) / 2, r_x)  # (A ions, pairs)
        for one in (first, second):  # A is larger than both with as many neighbours: no Ba on B of Sr
            fit &= (large > b.twelve[one]) & (a.z[of_a, None] != b.z[one])
        row, pair = np.nonzero(fit)
        fits[of_a[row], first[pair]] = fits[of_a[row], second[pair]] = True
    return fits


def _tolerated(r_a: Floats, r_b: Floats, r_x: Floats, least: float = LEAST_OCTAHEDRAL) -> Flags:
    tolerance = tolerance_factor(r_a, r_b, r_x)
    return (tolerance >= TOLERANCE[0]) & (tolerance <= TOLERANCE[1]) & (r_b / r_x >= least)


def _electropositive(cations: _Cations, x: list[int]) -> Flags:
    negativity = electronegativities()
    return np.asarray(negativity[cations.z] < negativity[x].min(), dtype=bool)


def _a_cations(ions: _Cations, limits: Limits) -> _Cations:
    """Select cations for A: usual states of Shannon's table, large and not charged too high."""
    likely = _tabulated(ions) & (ions.charge <= limits.a_charge) & (ions.twelve >= limits.a_radius)
    return ions.where(likely & (ions.reluctance <= (USUAL if limits is USUAL_LIMITS else MOST_RELUCTANCE[DEFAULT_SET])))


def _b_cations(ions: _Cations, anions: Sequence[int]) -> _Cations:
    """Select cations for B: any state, but only those of Shannon's table (I5+) if the element is an anion elsewhere."""
    return ions.where(_tabulated(ions) | ~np.isin(ions.z, anions))


def _anions(elements: Iterable[int]) -> list[int]:
    """Select the elements that have a radius as an anion."""
    radius = tables().radius["X"]
    return [z for z in elements if np.isfinite(radius[z])]


def _tabulated(ions: _Cations) -> Flags:
    return np.array([q in shannon(z) for z, q in zip(ions.z.tolist(), ions.charge.tolist(), strict=True)], dtype=bool)


def _cations(elements: Iterable[int], *, mixed: bool) -> _Cations:
    """List every cation of the elements, in each of its states, mixed valences too if wanted; noble gases have none."""
    ions = tables()
    least = np.min([reluctances((x,)) for x in _anions(elements) or [8]], axis=0)  # (101, 9)
    if mixed:
        least = np.minimum(least, mixed_reluctances(least))
    numbers = np.array([z for z in elements if z not in GROUPS["noble-gases"]], dtype=np.int64)
    which, charge = np.nonzero(np.isfinite(least[numbers]))
    at = (numbers[which], charge)
    return _Cations(at[0], charge, least[at], ions.radius["A"][at], ions.radius["B"][at])


def _no_perovskite(elements: Iterable[int], site: str, *, double: bool) -> UserError:
    named = ",".join(SYMBOLS[z] for z in elements)
    kind, missing = "ABX3 perovskite", f"no element fits site {site}"
    if double:
        kind, missing = "double perovskite A2BB'X6", "no two elements fit B and B'" if site == "B" else missing
    return UserError(
        f"No {kind} can be expected of {named}: {missing}. "
        "Name more elements, or say yourself which sit where: `a`, `b` and `x`."
    )
