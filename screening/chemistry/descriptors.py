"""What chemistry says of candidates: oxidation states, tolerance and octahedral factors, Bartel's τ, redox, cost.

Everything is worked out by role: A cations have twelve neighbours, B cations, B' among them, and anions X six.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, Prototype
from screening.chemistry.assignment import Charges, assign, unique_anions
from screening.chemistry.ions import NEIGHBOURS, electronegativities, sites_of, tables
from screening.chemistry.oxidation import ICSD, StateSet, mixed_reluctances, reluctances
from screening.chemistry.redox import potentials
from screening.chemistry.sources import Floats, hhi

if TYPE_CHECKING:
    from collections.abc import Mapping

Species = NDArray[np.uint8]

TOLERANCE = (0.75, 1.10)
"""Goldschmidt's t of known perovskites, from RbPbI3 (0.81) to BaTiO3 (1.06), with room for the error of radii."""

LEAST_OCTAHEDRAL = 0.35
"""rB/rX below which no anion octahedron holds around B; LaAlO3 has 0.38."""

OF_ELEMENTS = frozenset({"species", "hhi", "electronegativity_gap", "mixed_anions"})
"""Columns that follow from the elements alone, without oxidation states: in no time."""

FOR_FILTERS = frozenset({"electronegativity_gap", "sites_plausible", "mixed_anions"})
"""Columns that filters look at and that runs do not keep."""

MOST_CHARGE_OF_TAU = 3
"""Charge of A up to which τ is defined."""

INERT = -3.0
"""V at which ions without a known couple are taken to be reduced, as those of the alkali metals are."""


def columns(
    species: Species, prototype: Prototype = CUBIC_PEROVSKITE, states: StateSet = ICSD
) -> dict[str, NDArray[np.generic]]:
    """Compute the chemical columns of candidates.

    Oxidation states are those of `assignment`; where none balance, each cation takes its most usual one, so that the
    geometry is still described. The radii of B and B' are averaged, as is the custom for double perovskites (Vasala and
    Karppinen, Prog. Solid State Chem. 2015, 43, 1; Bartel et al.), and so are those of mixed anions.

    Args:
        species: (n, n_sites) atomic numbers.
        prototype: Which of the sites are A, B and X, and how many atoms each has.
        states: The set of oxidation states to choose from.

    Returns:
        Arrays (n,) of float32: `tolerance_factor` (Goldschmidt 1926), `octahedral_factor`, `tau` (Bartel et al., Sci.
        Adv. 2019, 5, eaav0693, with their choice of Shannon's radii), NaN where a radius is unknown and, for τ, where A
        is not larger than B; `state_reluctance` of the most unusual ion (see `oxidation`) and `redox`, the margin in V
        (see `redox`), both NaN where nothing balances; `hhi` of the production of the elements, weighted by mass
        (Gaultois et al., Chem. Mater. 2013, 25, 2911), NaN where unknown; `electronegativity_gap`, that of the least
        electronegative anion less that of the most electronegative cation (Pauling). Of bool: `charge_balanced`;
        `radii_imputed`, where a radius is not from Shannon's table; `sites_plausible`, where states and radii are known
        and A is larger than each B, with as many neighbours, and not the same element; `mixed_anions`, where there is
        more than one element on X. (n, n_sites) int8: `charges`, 0 where nothing balances.
    """
    ions = tables()
    charges, balanced = assign(species, prototype, states)
    r_a, r_b, r_x = (_mean_radius(ions.radius[role], role, species, charges, prototype) for role in NEIGHBOURS)
    near_a, near_b, near_x = (
        _mean_radius(ions.nearest[role], role, species, charges, prototype) for role in NEIGHBOURS
    )
    charge_a = charges[:, sites_of("A", prototype)].mean(axis=1)
    on_x = species[:, sites_of("X", prototype)]
    reluctance, margin = _plausibility(species, charges, prototype)
    unknown = np.float32(np.nan)
    return {
        "tolerance_factor": tolerance_factor(r_a, r_b, r_x).astype(np.float32),
        "octahedral_factor": (r_b / r_x).astype(np.float32),
        "tau": tau(near_a, near_b, near_x, charge_a).astype(np.float32),
        "charge_balanced": balanced,
        "radii_imputed": _any_imputed(species, charges, prototype),
        "charges": charges * balanced[:, None],
        "state_reluctance": np.where(balanced, reluctance, unknown),
        "redox": np.where(balanced, margin, unknown),
        "hhi": _mean_hhi(species, prototype),
        "electronegativity_gap": _electronegativity_gap(species, prototype),
        "mixed_anions": (on_x != on_x[:, :1]).any(axis=1),
        "sites_plausible": balanced & np.isfinite(r_a + r_b + r_x) & _a_is_larger(species, charges, prototype),
    }


def of_elements(species: Species, prototype: Prototype) -> dict[str, NDArray[np.generic]]:
    """Compute those of `columns` that are `OF_ELEMENTS`, for species (n, n_sites), which is among them."""
    on_x = species[:, sites_of("X", prototype)]
    return {
        "species": species,
        "hhi": _mean_hhi(species, prototype),
        "electronegativity_gap": _electronegativity_gap(species, prototype),
        "mixed_anions": (on_x != on_x[:, :1]).any(axis=1),
    }


def tolerance_factor(r_a: Floats, r_b: Floats, r_x: Floats) -> Floats:
    """Compute Goldschmidt's t = (rA + rX) / √2 (rB + rX); radii in Å."""
    return (r_a + r_x) / (math.sqrt(2) * (r_b + r_x))


def tau(r_a: Floats, r_b: Floats, r_x: Floats, charge_a: Floats) -> Floats:
    """Compute Bartel's τ = rX/rB - nA (nA - (rA/rB) / ln(rA/rB)), nA the charge of A; NaN unless rA > rB. Radii in Å.

    Where A is hardly larger than B, τ has a pole: NaN where they are equal but for rounding. It was fitted to A of
    charges 1 to 3; for higher ones the formula gives negative numbers, and τ is NaN.
    """
    charge_a = np.where(charge_a <= MOST_CHARGE_OF_TAU, charge_a, np.nan)
    ratio = np.where(r_a > r_b * (1 + 1e-9), r_a / r_b, np.nan)
    return r_x / r_b - charge_a * (charge_a - ratio / np.log(ratio))


def _mean_radius(table: Floats, role: str, species: Species, charges: Charges, prototype: Prototype) -> Floats:
    """Average the radii on the sites of a role, (n,) Å."""
    sites = sites_of(role, prototype)
    radii = (table[species[:, at]] if role == "X" else table[species[:, at], charges[:, at]] for at in sites)
    return np.asarray(sum(radii) / len(sites), dtype=np.float64)


def _a_is_larger(species: Species, charges: Charges, prototype: Prototype) -> NDArray[np.bool_]:
    """Check whether A is another element than each B and larger with as many neighbours, twelve, (n,)."""
    (a,) = sites_of("A", prototype)
    radius = tables().radius["A"]
    r_a = radius[species[:, a], charges[:, a]]
    larger = np.ones(len(species), dtype=bool)
    for b in sites_of("B", prototype):
        larger &= (species[:, a] != species[:, b]) & (r_a > radius[species[:, b], charges[:, b]])
    return larger


def _any_imputed(species: Species, charges: Charges, prototype: Prototype) -> NDArray[np.bool_]:
    """Check whether a radius on any site is not from Shannon's table, (n,)."""
    imputed = np.zeros(len(species), dtype=bool)
    for at, role in enumerate(prototype.roles):
        table = tables().imputed[role]
        imputed |= table[species[:, at]] if role == "X" else table[species[:, at], charges[:, at]]
    return imputed


def _plausibility(
    species: Species, charges: Charges, prototype: Prototype
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest reluctance of a cation, and the redox margin in V, (n,) each."""
    cations = [at for at, role in enumerate(prototype.roles) if role != "X"]
    reluctance = np.zeros(len(species), dtype=np.float32)
    margin = np.zeros(len(species), dtype=np.float32)
    anions, which = unique_anions(species[:, sites_of("X", prototype)])
    for number, x in enumerate(anions):
        rows = slice(None) if len(anions) == 1 else np.flatnonzero(which == number)
        known = _ions_beside(x)
        ions = [(species[rows, at], charges[rows, at]) for at in cations]
        reluctance[rows] = np.max([known["reluctance"][ion] for ion in ions], axis=0)
        weakest = np.min([known["reductant"][ion] for ion in ions], axis=0)
        margin[rows] = weakest - np.max([known["oxidant"][ion] for ion in ions], axis=0)
    return reluctance, margin


@lru_cache(maxsize=256)
def _ions_beside(anions: tuple[int, ...]) -> Mapping[str, NDArray[np.float32]]:
    """Tabulate for every ion beside these anions, (101, 9).

    Reluctance, V as an oxidant, V as a reductant or the anion's.
    """
    single = reluctances(anions, StateSet("all"))
    redox = potentials(anions)
    tables_ = {
        "reluctance": np.minimum(single, mixed_reluctances(single)),
        "oxidant": np.maximum(redox.oxidant, INERT),
        "reductant": np.minimum(redox.reductant, redox.anion),
    }
    return {name: values.astype(np.float32) for name, values in tables_.items()}


def _mean_hhi(species: Species, prototype: Prototype) -> NDArray[np.float32]:
    """Average the Herfindahl-Hirschman index of production, weighted by mass, (n,)."""
    masses = np.bincount(prototype.atoms)[None, :] * _masses()[species]  # (n, n_sites)
    return np.asarray((masses * hhi()[species]).sum(axis=1) / masses.sum(axis=1), dtype=np.float32)


def _electronegativity_gap(species: Species, prototype: Prototype) -> NDArray[np.float32]:
    negativity = electronegativities().astype(np.float32)[species]  # (n, n_sites)
    on_x = prototype.on_x
    return np.asarray(negativity[:, on_x].min(axis=1) - negativity[:, ~on_x].max(axis=1), dtype=np.float32)


@lru_cache(maxsize=1)
def _masses() -> Floats:
    """Standard atomic masses, (101,)."""
    from pymatgen.core.periodic_table import Element

    return np.array([np.nan, *(float(Element(SYMBOLS[z]).atomic_mass) for z in range(1, MAX_Z + 1))])
