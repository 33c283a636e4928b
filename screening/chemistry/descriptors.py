"""What chemistry says of candidates: charge balance, tolerance, octahedral factor, Bartel's τ.

Everything is worked out by role: A cations have twelve neighbours, B cations, B' among them, and anions X six. Each
cation takes one oxidation state out of pymatgen's common ones, those found in the ICSD, and those with a Shannon
radius, in this order of preference; each anion has the state of its Shannon radius.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, Prototype
from screening.chemistry.ions import NEIGHBOURS, NO_STATE, Flags, Floats, tables

Species = NDArray[np.uint8]

TOLERANCE = (0.75, 1.10)
"""Goldschmidt's t of known perovskites, from RbPbI3 (0.81) to BaTiO3 (1.06), with room for the error of radii."""

LEAST_OCTAHEDRAL = 0.35
"""rB/rX below which no anion octahedron holds around B; LaAlO3 has 0.38."""


def columns(species: Species, prototype: Prototype = CUBIC_PEROVSKITE) -> dict[str, NDArray[np.generic]]:
    """The chemical columns of candidates.

    Oxidation states are those that balance the charges with the least reluctance (see `Ions`), where an A charged
    higher than a B counts as one more step; among equals, those with the lower charge on A. Where none balance, each
    cation takes its preferred state, so that the geometry is still described. The radii of B and B' are averaged, as
    is the custom for double perovskites (Vasala and Karppinen, Prog. Solid State Chem. 2015, 43, 1; Bartel et al.), and
    so are those of mixed anions; A is charged higher than B if it is charged higher than B and B' are in the mean.

    Args:
        species: (n, n_sites) atomic numbers.
        prototype: Which of the sites are A, B and X, and how many atoms each has.

    Returns:
        Arrays (n,): `charge_balanced` bool; `tolerance_factor` (Goldschmidt 1926), `octahedral_factor` and `tau`
        (Bartel et al., Sci. Adv. 2019, 5, eaav0693) float32, NaN where a radius is unknown and, for τ, where A is not
        larger than B; `radii_imputed` bool, where a radius is not from Shannon's table.
    """
    ions = tables()
    states, balanced = _oxidation_states(species, prototype)  # (n, n_sites), (n,)
    sites = {role: sites_of(role, prototype) for role in NEIGHBOURS}
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


def _oxidation_states(species: Species, prototype: Prototype) -> tuple[NDArray[np.int8], Flags]:
    """The state of each site's cation (n, n_sites), as a position in `Ions.charge`, and whether they balance (n,).

    The states of all cations but the last are tried; the charge that is then missing says that of the last.
    """
    ions = tables()
    atoms = np.bincount(prototype.atoms).astype(np.int8)  # (n_sites,)
    a_atoms, b_atoms = (atoms[sites_of(role, prototype)].sum() for role in ("A", "B"))
    *tried, last = sites_of("A", prototype) + sites_of("B", prototype)  # the last has one atom
    target = _anion_charge(species, prototype, atoms)  # (n,)
    least = np.full(len(species), NO_STATE, dtype=np.int8)
    chosen = np.zeros(species.shape, dtype=np.int8)
    for states in product(range(ions.charge.shape[1]), repeat=len(tried)):
        charge = [ions.charge[species[:, site], state] for site, state in zip(tried, states, strict=True)]
        missing = target - sum(atoms[site] * q for site, q in zip(tried, charge, strict=True))  # (n,)
        missing = np.where((missing > 0) & (missing < ions.state.shape[1]), missing, 0)
        closing = ions.state[species[:, last], missing]  # (n,)
        cost = ions.reluctance[species[:, last], closing]
        cost = sum((ions.reluctance[species[:, site], q] for site, q in zip(tried, states, strict=True)), start=cost)
        cost = cost + (b_atoms * charge[0] > target - a_atoms * charge[0])
        better = np.flatnonzero((closing >= 0) & (cost < least))
        least[better] = cost[better]
        chosen[better[:, None], tried] = states
        chosen[better, last] = closing[better]
    return chosen, least < NO_STATE


def sites_of(role: str, prototype: Prototype) -> list[int]:
    """The sites of a role, as columns of species."""
    return [site for site, name in enumerate(prototype.roles) if name == role]


def _anion_charge(species: Species, prototype: Prototype, atoms: NDArray[np.int8]) -> NDArray[np.int8]:
    """The charge of the anions of one cell (n,), without its sign; -1, which nothing balances, if some are none."""
    sites = sites_of("X", prototype)
    charge = tables().anion_charge[species[:, sites]]  # (n, X sites)
    return np.where((charge < 0).all(axis=1), -(charge * atoms[sites]).sum(axis=1, dtype=np.int8), np.int8(-1))
