"""What chemistry says of candidates: charge balance, tolerance, octahedral factor, Bartel's τ.

Everything is worked out by role: A cations have twelve neighbours, B cations, B' among them, and anions X six. Each
cation takes one oxidation state out of pymatgen's common ones, those found in the ICSD, and those with a Shannon
radius, in this order of preference; each anion has the state of its Shannon radius.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from screening.ions import NEIGHBOURS, NO_STATE, Flags, Floats, tables

Species = NDArray[np.uint8]

ABX3 = ("A", "B", "X", "X", "X")
"""Roles of the sites of a perovskite."""

A2BBX6 = ("A", "A", "B", "B'", "X", "X", "X", "X", "X", "X")
"""Roles of the sites of a double perovskite A2BB'X6."""

TOLERANCE = (0.75, 1.10)
"""Goldschmidt's t of known perovskites, from RbPbI3 (0.81) to BaTiO3 (1.06), with room for the error of radii."""

LEAST_OCTAHEDRAL = 0.35
"""rB/rX below which no anion octahedron holds around B; LaAlO3 has 0.38."""


def columns(species: Species, roles: Sequence[str] = ABX3) -> dict[str, NDArray[np.generic]]:
    """The chemical columns of candidates.

    Oxidation states are those that balance the charges with the least reluctance (see `Ions`), where an A charged
    higher than a B counts as one more step; among equals, those with the lower charge on A. Where none balance, each
    cation takes its preferred state, so that the geometry is still described. The radii of B and B' are averaged, as
    is the custom for double perovskites (Vasala and Karppinen, Prog. Solid State Chem. 2015, 43, 1; Bartel et al.), and
    so are those of mixed anions; A is charged higher than B if it is charged higher than B and B' are in the mean.

    Args:
        species: (n, n_sites) atomic numbers; sites of a role other than X hold one element.
        roles: the role of each site: A, B, B' or X.

    Returns:
        Arrays (n,): `charge_balanced` bool; `tolerance_factor` (Goldschmidt 1926), `octahedral_factor` and `tau`
        (Bartel et al., Sci. Adv. 2019, 5, eaav0693) float32, NaN where a radius is unknown and, for τ, where A is not
        larger than B; `radii_imputed` bool, where a radius is not from Shannon's table.
    """
    ions = tables()
    cations = _cation_sites(roles)
    states, balanced = _oxidation_states(species, cations, roles)  # (n, cations), (n,)
    entries: dict[str, tuple[NDArray[np.integer], ...]] = {"X": (species[:, _at("X", roles)],)}
    for role in ("A", "B"):
        at = [i for i, cation in enumerate(cations) if cation.role == role]
        entries[role] = (species[:, [cations[i].site for i in at]], states[:, at])
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


class _CationSites(NamedTuple):
    """The sites of one role: the neighbourhood that they share (A or B), the first of them, and how many they are."""

    role: str
    site: int
    number: int


def _cation_sites(roles: Sequence[str]) -> list[_CationSites]:
    names = [name for name in dict.fromkeys(roles) if name != "X"]
    return [_CationSites(name.rstrip("'"), roles.index(name), roles.count(name)) for name in names]


def _at(role: str, roles: Sequence[str]) -> list[int]:
    return [site for site, name in enumerate(roles) if name == role]


def _oxidation_states(
    species: Species, cations: Sequence[_CationSites], roles: Sequence[str]
) -> tuple[NDArray[np.int8], Flags]:
    """The state of each cation (n, cations), as a position in `Ions.charge`, and whether they balance (n,).

    The states of all cations but the last are tried; the charge that is then missing says that of the last.
    """
    ions = tables()
    z = species[:, [cation.site for cation in cations]].T  # (cations, n)
    *tried, last = z
    numbers = [cation.number for cation in cations]
    b_sites = sum(cation.number for cation in cations if cation.role == "B")
    target = _cation_charge(species[:, _at("X", roles)])  # (n,)
    least = np.full(len(species), NO_STATE, dtype=np.int8)
    chosen = np.zeros((len(species), len(cations)), dtype=np.int8)
    for states in product(range(ions.charge.shape[1]), repeat=len(tried)):
        parts = list(zip(tried, states, numbers, strict=False))
        missing = target - sum(number * ions.charge[of, state] for of, state, number in parts)  # (n,)
        closing = ions.state[last, np.where((missing > 0) & (missing < ions.state.shape[1]), missing, 0)]  # (n,)
        a_charge = ions.charge[tried[0], states[0]]
        inverted = b_sites * a_charge > target - numbers[0] * a_charge
        cost = sum((ions.reluctance[of, state] for of, state, _ in parts), start=ions.reluctance[last, closing])
        better = np.flatnonzero((closing >= 0) & (cost + inverted < least))
        least[better] = (cost + inverted)[better]
        chosen[better] = np.column_stack([*np.broadcast_to(states, (len(better), len(tried))).T, closing[better]])
    return chosen, least < NO_STATE


def _cation_charge(anions: Species) -> NDArray[np.int8]:
    """The charge that balances anions (n, n_x), (n,); one that no cations reach where some are no anions."""
    charge = tables().anion_charge[anions]
    return np.where((charge < 0).all(axis=1), -charge.sum(axis=1, dtype=np.int8), np.int8(-1))
