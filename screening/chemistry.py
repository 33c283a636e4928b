"""What chemistry says of candidates: charge balance, tolerance, octahedral factor, Bartel's τ; and who may sit where.

Everything is worked out by role, whatever the number of sites of each: A cations have twelve neighbours, B cations and
anions X six. Each cation takes one oxidation state out of pymatgen's common ones, those found in the ICSD, and those
with a Shannon radius, in this order of preference; each anion has the state of its Shannon radius.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from screening.ions import MOST_RELUCTANCE, NEIGHBOURS, NO_STATE, Flags, Floats, electronegativities, tables
from screening.radii import shannon

Species = NDArray[np.uint8]

ABX3 = ("A", "B", "X", "X", "X")
"""Roles of the sites of a perovskite."""

TOLERANCE = (0.75, 1.10)
"""Goldschmidt's t of known perovskites, from RbPbI3 (0.81) to BaTiO3 (1.06), with room for the error of radii."""

LEAST_OCTAHEDRAL = 0.35
"""rB/rX below which no anion octahedron holds around B; LaAlO3 has 0.38."""

LEAST_A_RADIUS = 1.0
"""Å, twelve neighbours: less is no A cation. Sc3+ (1.05), the smallest of a known perovskite (ScAlO3), may sit there;
Al3+, Ga3+ and Fe3+ may not."""

MOST_A_CHARGE = 3
"""Quadrivalent cations sit on B. (ThTaN3 is an exception: it has to be asked for by sites.)"""

MOST_ANION_KINDS = 3
"""How many anions are mixed on X in search of a place for an element."""


def columns(species: Species, roles: Sequence[str] = ABX3) -> dict[str, NDArray[np.generic]]:
    """The chemical columns of candidates.

    Oxidation states are those that balance the charges with the least reluctance (see `Ions`), where an A charged
    higher than a B counts as one more step; among equals, those with the lower charge on A. Where none balance, each
    cation takes its preferred state, so that the geometry is still described. Radii of several sites of a role are
    averaged.

    Args:
        species: (n, n_sites) atomic numbers.
        roles: the role of each site: A, B or X.

    Returns:
        Arrays (n,): `charge_balanced` bool; `tolerance_factor` (Goldschmidt 1926), `octahedral_factor` and `tau`
        (Bartel et al., Sci. Adv. 2019, 5, eaav0693) float32, NaN where a radius is unknown and, for τ, where A is not
        larger than B; `radii_imputed` bool, where a radius is not from Shannon's table.
    """
    ions = tables()
    sites = {role: [site for site, of in enumerate(roles) if of == role] for role in NEIGHBOURS}
    states, balanced = _oxidation_states(species, sites)  # (n, n_sites), (n,)
    entries = {
        role: (species[:, at], states[:, at]) if role != "X" else (species[:, at],) for role, at in sites.items()
    }
    r_a, r_b, r_x = (ions.radius[role][entries[role]].mean(axis=1) for role in NEIGHBOURS)
    imputed = [ions.imputed[role][entries[role]].any(axis=1) for role in NEIGHBOURS]
    return {
        "tolerance_factor": tolerance_factor(r_a, r_b, r_x).astype(np.float32),
        "octahedral_factor": (r_b / r_x).astype(np.float32),
        "tau": tau(r_a, r_b, r_x, ions.charge[entries["A"]].mean(axis=1)).astype(np.float32),
        "charge_balanced": balanced,
        "radii_imputed": np.any(imputed, axis=0),
    }


def tolerance_factor(r_a: Floats, r_b: Floats, r_x: Floats) -> Floats:
    """Goldschmidt's t = (rA + rX) / √2 (rB + rX); radii in Å."""
    return (r_a + r_x) / (math.sqrt(2) * (r_b + r_x))


def tau(r_a: Floats, r_b: Floats, r_x: Floats, charge_a: Floats) -> Floats:
    """Bartel's τ = rX/rB - nA (nA - (rA/rB) / ln(rA/rB)), nA the charge of A; NaN unless rA > rB. Radii in Å."""
    ratio = np.where(r_a > r_b, r_a / r_b, np.nan)
    return r_x / r_b - charge_a * (charge_a - ratio / np.log(ratio))


def _oxidation_states(species: Species, sites: dict[str, list[int]]) -> tuple[NDArray[np.int8], Flags]:
    """The state of each site (n, n_sites), as a position in `Ions.charge`, and whether they balance (n,)."""
    ions = tables()
    cations = sites["A"] + sites["B"]
    charge = ions.charge.T[:, species[:, cations].T]  # (S, cations, n)
    reluctance = ions.reluctance.T[:, species[:, cations].T]  # (S, cations, n)
    anions = ions.anion_charge[species[:, sites["X"]]]  # (n, anions)
    target = np.where((anions < 0).all(axis=1), -anions.sum(axis=1, dtype=np.int8), np.int8(-1))  # (n,)
    least = np.full(len(species), NO_STATE, dtype=np.int8)
    chosen = np.zeros(species.shape, dtype=np.int8)
    site = range(len(cations))
    for states in product(range(len(charge)), repeat=len(cations)):
        q = charge[states, site]  # (cations, n)
        inverted = q[: len(sites["A"])].max(axis=0) > q[len(sites["A"]) :].min(axis=0)
        cost = reluctance[states, site].sum(axis=0, dtype=np.int8) + inverted
        better = np.flatnonzero((q.sum(axis=0, dtype=np.int8) == target) & (cost < least))
        least[better] = cost[better]
        chosen[better[:, None], cations] = states
    return chosen, least < NO_STATE


@dataclass(frozen=True)
class Sites:
    """Atomic numbers for each site, in the order in which the elements were named.

    Attributes:
        A: elements for A.
        B: elements for B.
        X: elements for the three X.
        unplaced: elements that fit nowhere.
    """

    A: tuple[int, ...]
    B: tuple[int, ...]
    X: tuple[int, ...]
    unplaced: tuple[int, ...]


@dataclass(frozen=True)
class _Cations:
    """Ions that may sit on a site: arrays of atomic number, charge, reluctance (see `Ions`) and radius (Å)."""

    z: NDArray[np.int64]
    charge: NDArray[np.int64]
    reluctance: NDArray[np.int64]
    radius: Floats

    def where(self, kept: Flags) -> "_Cations":
        return _Cations(self.z[kept], self.charge[kept], self.reluctance[kept], self.radius[kept])


def assign_sites(elements: Sequence[int]) -> Sites:
    """Find the sites of a perovskite ABX3 where each element may sit.

    X takes the elements with a Shannon radius as an anion. A cation may sit on a site if some ABX3 of the named
    elements has it there, with A != B, balanced charges, cations less electronegative than the anions, rA > rB, no
    more charge on A than on B, and t, μ and rA within this module's limits. A takes only common oxidation states that
    Shannon's table knows. The likely come first: X of one element, then of two and three; in each case B in a common
    state, then in others. What is less likely gives sites only to cations that have none yet. (Otherwise some rare
    oxyfluoride would put Ca on B of every titanate.)

    Args:
        elements: atomic numbers.

    Raises:
        UserError: a site gets no element.
    """
    a, b, anions = _a_cations(elements), _b_cations(elements), _anions(elements)
    on: dict[str, set[int]] = {role: set() for role in NEIGHBOURS}
    for kinds, reluctance in product(range(1, MOST_ANION_KINDS + 1), range(MOST_RELUCTANCE + 1)):
        may_a = a.where(_either_in_or_new(a.z, on["A"], on["B"]))
        may_b = b.where(_either_in_or_new(b.z, on["B"], on["A"]) & (b.reluctance <= reluctance))
        for x in combinations_with_replacement(anions, ABX3.count("X")):
            if len(set(x)) == kinds:
                fits = _fits(may_a, may_b, x)  # (A ions, B ions)
                on["A"].update(may_a.z[fits.any(axis=1)].tolist())
                on["B"].update(may_b.z[fits.any(axis=0)].tolist())
                on["X"].update(x if fits.any() else ())
    if not on["X"]:
        raise _no_perovskite(elements, "X" if not anions else "A" if not len(a.z) else "B")
    placed = {role: tuple(z for z in elements if z in on[role]) for role in on}
    return Sites(**placed, unplaced=tuple(z for z in elements if not any(z in on[role] for role in on)))


def _either_in_or_new(z: NDArray[np.int64], on_this: set[int], on_other: set[int]) -> Flags:
    """Which elements (n,) sit on this site already, or on neither."""
    return np.isin(z, list(on_this)) | ~np.isin(z, list(on_other))


def _fits(a: _Cations, b: _Cations, x: Sequence[int]) -> Flags:
    """Whether each A with each B makes a perovskite of these three anions, (A ions, B ions)."""
    ions, negativity, anions = tables(), electronegativities(), list(x)
    r_a, r_x = a.radius[:, None], ions.radius["X"][anions].mean()
    tolerance = tolerance_factor(r_a, b.radius, r_x)
    fits = (tolerance >= TOLERANCE[0]) & (tolerance <= TOLERANCE[1]) & (b.radius / r_x >= LEAST_OCTAHEDRAL)
    fits &= (r_a > b.radius) & (a.z[:, None] != b.z)
    fits &= (a.charge[:, None] + b.charge + ions.anion_charge[anions].sum() == 0) & (a.charge[:, None] <= b.charge)
    electropositive = [negativity[cations.z] < negativity[anions].min() for cations in (a, b)]
    fits &= electropositive[0][:, None] & electropositive[1]
    return np.asarray(fits, dtype=bool)


def _a_cations(elements: Iterable[int]) -> _Cations:
    """Cations for A: common states of Shannon's table up to `MOST_A_CHARGE`, and large."""
    ions = _cations(elements, "A")
    likely = _tabulated(ions) & (ions.reluctance == 0) & (ions.charge <= MOST_A_CHARGE)
    return ions.where(likely & (ions.radius >= LEAST_A_RADIUS))


def _b_cations(elements: Iterable[int]) -> _Cations:
    """Cations for B: any state, but for elements that are anions elsewhere only those of Shannon's table (I5+)."""
    ions = _cations(elements, "B")
    return ions.where(_tabulated(ions) | ~np.isin(ions.z, _anions(elements)))


def _anions(elements: Iterable[int]) -> list[int]:
    return [z for z in elements if any(charge < 0 for charge in shannon(z))]


def _tabulated(ions: _Cations) -> Flags:
    return np.array([q in shannon(z) for z, q in zip(ions.z.tolist(), ions.charge.tolist(), strict=True)], dtype=bool)


def _cations(elements: Iterable[int], role: str) -> _Cations:
    """Every cation of the elements, in each of its states."""
    ions = tables()
    numbers = np.array(list(elements), dtype=np.int64)
    which, state = np.nonzero(ions.charge[numbers])
    at = (numbers[which], state)
    return _Cations(at[0], ions.charge[at].astype(int), ions.reluctance[at].astype(int), ions.radius[role][at])


def _no_perovskite(elements: Iterable[int], site: str) -> UserError:
    named = ",".join(SYMBOLS[z] for z in elements)
    return UserError(
        f"No ABX3 perovskite can be expected of {named}: no element fits site {site}. "
        "Name more elements, or say yourself which sit where with --a, --b and --x."
    )
