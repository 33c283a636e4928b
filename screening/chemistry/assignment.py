"""Which oxidation states the cations of a perovskite take: by tables over pairs of B and B', made once for its anions.

The cost of states is the sum of their reluctances (see `oxidation`), plus `A_ABOVE_B` where A is charged higher than a
B, plus `REACTION` for each volt by which one ion oxidises another or the anion (see `redox`). For each charge of A the
cheapest states of B and B' by themselves are taken, then the cheapest A for these; among equals, those with the lowest
charge on A, then on B.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from screening.chemistry.ions import sites_of, tables
from screening.chemistry.oxidation import StateSet, mixed_reluctances, reluctances
from screening.chemistry.redox import potentials
from screening.chemistry.sources import MOST_CHARGE, NUMBERS, SHAPE, Floats

if TYPE_CHECKING:
    from cgcnn.graphs.prototype import Prototype

Species = NDArray[np.uint8]
Charges = NDArray[np.int8]
Costs = NDArray[np.float32]

A_ABOVE_B = 1.0
"""Cost of a charge on A above that on B or B': as that of a state that one ion in ten has."""

LONE_PAIR = 2.0
"""Cost of an ion with a lone pair on B of oxides and fluorides, whose element has a higher state: Mn2VSbO6 has V3+ and
Sb5+, not V5+ and Sb3+. Bi3+, which is there in Ba2BiSbO6, is left out."""

LONE_PAIRS = {"Ge": 2, "Sn": 2, "As": 3, "Sb": 3, "Se": 4, "Te": 4}

REACTION = 6.0
"""Cost of each volt of a reaction. It makes Sr2FeMoO6 of Fe3+ and Mo5+, and Sr2FeWO6 of Fe2+ and W6+."""


class Assigned(NamedTuple):
    """The states of candidates.

    Attributes:
        charges: (n, n_sites) int8 of every site; where nothing balances, each cation has its most usual state.
        balanced: (n,) bool, whether the charges balance.
    """

    charges: Charges
    balanced: NDArray[np.bool_]


@dataclass(frozen=True)
class _OnB:
    """The cheapest states of B, or of B and B', for each charge that these have together.

    Attributes:
        cost: (9, 101) of charge and B; (17, 10201) of charge and 101 B + B' where there is a B'. Infinite where there
            are no such states.
        first: Likewise, the charge of B.
        least: Likewise, the smaller of the charges.
        oxidant: Likewise, V at which the stronger oxidant of the two is reduced.
        reductant: Likewise, V at which the weaker of the two, or the anion, is oxidised.
    """

    cost: Costs
    first: Charges
    least: Charges
    oxidant: Costs
    reductant: Costs


@dataclass(frozen=True)
class _Beside:
    """What the states of cations cost beside one set of anions.

    Attributes:
        on_b: For the sites B.
        reluctance: (9, 101) of charge and A.
        oxidant: (9, 101) V at which A is reduced.
        reductant: (9, 101) V at which it is oxidised.
        usual: (101,) the most usual state of each element.
    """

    on_b: _OnB
    reluctance: Costs
    oxidant: Costs
    reductant: Costs
    usual: Charges

    def cost(self, charge: int, rest: int, a: Species, b: NDArray[np.intp]) -> Costs:
        """Compute what A (m,) of a charge costs with the cheapest B (m,) of the rest of the charge, (m,)."""
        on_b = self.on_b
        cost = self.reluctance[charge][a] + on_b.cost[rest][b]
        able = np.flatnonzero(np.isfinite(cost))
        a, b = a[able], b[able]
        oxidant, reductant = self.oxidant[charge][a], self.reductant[charge][a]
        weakest = np.minimum(reductant, on_b.reductant[rest][b])
        reaction = np.maximum(on_b.oxidant[rest][b] - reductant, oxidant - weakest)
        cost[able] += np.float32(REACTION) * np.maximum(reaction, 0)
        cost[able] += np.float32(A_ABOVE_B) * (on_b.least[rest][b] < charge)
        return np.asarray(cost, dtype=np.float32)


def assign(species: Species, prototype: Prototype, states: StateSet) -> Assigned:
    """Assign oxidation states to candidates.

    Args:
        species: (n, n_sites) atomic numbers.
        prototype: Which of the sites are A, B and X, and how many atoms each has.
        states: The set of states to choose from.
    """
    on_x = sites_of("X", prototype)
    anions, which = unique_anions(species[:, on_x])  # (k, X sites), (n,)
    charges = np.zeros(species.shape, dtype=np.int8)
    charges[:, on_x] = tables().anion_charge[species[:, on_x]]
    balanced = np.zeros(len(species), dtype=bool)
    for number, x in enumerate(anions):
        rows = slice(None) if len(anions) == 1 else np.flatnonzero(which == number)
        charges[rows], balanced[rows] = _assign_beside(x, species[rows], charges[rows], prototype, states)
    return Assigned(charges, balanced)


def unique_anions(species: Species) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    """Find the different sets of X of candidates (n, X sites), and which of these each has (n,)."""
    codes = np.zeros(len(species), dtype=np.int64)
    for site in range(species.shape[1]):
        codes = codes * SHAPE[0] + species[:, site]
    if len(codes) and (codes == codes[0]).all():  # as of one kind of X; sorting takes longer
        return [tuple(int(z) for z in species[0])], np.zeros(len(codes), dtype=np.int64)
    _, first, which = np.unique(codes, return_index=True, return_inverse=True)
    return [tuple(int(z) for z in species[row]) for row in first], which


def _assign_beside(
    anions: tuple[int, ...], species: Species, charges: Charges, prototype: Prototype, states: StateSet
) -> tuple[Charges, NDArray[np.bool_]]:
    """Assign charges to candidates (m, n_sites) that have the same anions, and say which balance."""
    (a_site,), b_sites, x_sites = (sites_of(role, prototype) for role in "ABX")
    atoms = np.bincount(prototype.atoms)
    beside = (_beside_pairs if len(b_sites) > 1 else _beside)(anions, states)
    anion_charge = tables().anion_charge[list(anions)]
    target = -int((anion_charge * atoms[x_sites]).sum()) if (anion_charge < 0).all() else -1
    a, b = species[:, a_site], species[:, b_sites[0]].astype(np.intp)
    if len(b_sites) > 1:
        b = b * SHAPE[0] + species[:, b_sites[1]]
    least = np.full(len(species), np.inf, dtype=np.float32)
    for charge in range(1, MOST_CHARGE + 1):
        rest = target - int(atoms[a_site]) * charge
        if not 0 < rest < len(beside.on_b.cost):
            continue
        cost = beside.cost(charge, rest, a, b)
        better = np.flatnonzero(cost < least)
        least[better] = cost[better]
        first = beside.on_b.first[rest][b[better]]
        charges[better, a_site], charges[better, b_sites[0]] = charge, first
        if len(b_sites) > 1:
            charges[better, b_sites[1]] = rest - first
    balanced = np.isfinite(least)
    for site in (a_site, *b_sites):
        charges[~balanced, site] = beside.usual[species[~balanced, site]]
    return charges, balanced


@lru_cache(maxsize=256)
def _beside(anions: tuple[int, ...], states: StateSet) -> _Beside:
    return _all_beside(anions, states, _b_alone(anions, states))


@lru_cache(maxsize=64)  # of 2.4 MB
def _beside_pairs(anions: tuple[int, ...], states: StateSet) -> _Beside:
    return _all_beside(anions, states, _b_pairs(anions, states))


def _all_beside(anions: tuple[int, ...], states: StateSet, on_b: _OnB) -> _Beside:
    single = reluctances(anions, states)
    redox = potentials(anions)
    reluctance, oxidant, reductant = map(_by_charge, (single, redox.oxidant, redox.reductant))
    usual = np.where(np.isfinite(single.min(axis=1)), single.argmin(axis=1), 0).astype(np.int8)
    return _Beside(on_b, reluctance, oxidant, reductant, usual)


def _by_charge(table: Floats) -> Costs:
    return np.ascontiguousarray(table.T, dtype=np.float32)


def _b_alone(anions: tuple[int, ...], states: StateSet) -> _OnB:
    """B without a B': its own states, and mixed valences."""
    single = _on_octahedra(anions, states)
    redox = potentials(anions)
    weakest = np.minimum(redox.reductant, redox.anion)
    cost = np.minimum(single, mixed_reluctances(single)) + REACTION * np.maximum(redox.oxidant - weakest, 0)
    charge = np.repeat(np.arange(SHAPE[1], dtype=np.int8)[:, None], SHAPE[0], axis=1)
    return _OnB(_by_charge(cost), charge, charge, _by_charge(redox.oxidant), _by_charge(weakest))


def _on_octahedra(anions: tuple[int, ...], states: StateSet) -> Floats:
    """Return what states cost on B before any reaction, (101, 9): their reluctances, and `LONE_PAIR`."""
    single = reluctances(anions, states)
    if set(anions) <= {NUMBERS["O"], NUMBERS["F"]}:
        single = single.copy()
        for symbol, charge in LONE_PAIRS.items():
            single[NUMBERS[symbol], charge] += LONE_PAIR
    return single


def _b_pairs(anions: tuple[int, ...], states: StateSet) -> _OnB:
    """Pair every B with every B'."""
    single = _by_charge(_on_octahedra(anions, states))
    redox = potentials(anions)
    oxidant, reductant = _by_charge(redox.oxidant), _by_charge(np.minimum(redox.reductant, redox.anion))
    n, most = SHAPE
    cost = np.full((2 * most - 1, n, n), np.inf, dtype=np.float32)
    first = np.zeros(cost.shape, dtype=np.int8)
    for total in range(2, len(cost)):
        for charge in range(max(1, total - most + 1), min(most, total)):
            other = total - charge
            weakest = np.minimum.outer(reductant[charge], reductant[other])  # (101, 101) V
            reaction = np.maximum.outer(oxidant[charge], oxidant[other]) - weakest
            these = np.add.outer(single[charge], single[other]) + np.float32(REACTION) * np.maximum(reaction, 0)
            better = these < cost[total]
            cost[total][better], first[total][better] = these[better], charge
    second = np.clip(
        np.arange(len(cost), dtype=np.int8)[:, None, None] - first, 0, most - 1
    )  # where the cost is finite
    b, b_prime = (first, np.arange(n)[:, None]), (second, np.arange(n))
    strongest, weakest = np.maximum(oxidant[b], oxidant[b_prime]), np.minimum(reductant[b], reductant[b_prime])
    shape = (len(cost), n * n)
    least = np.minimum(first, second)
    return _OnB(
        cost.reshape(shape),
        first.reshape(shape),
        least.reshape(shape),
        strongest.reshape(shape),
        weakest.reshape(shape),
    )
