"""Ionic radii: Shannon's table as pymatgen has it (Acta Cryst. 1976, A32, 751), and what to take where it has gaps.

A coordination that the table lacks is extrapolated from the nearest that it has of the ion; an ion that it lacks has
the radius that Baloch et al. learned from the table (Phys. Rev. Mater. 2021, 5, 043804; Sn2+, 1.00 Å with six
neighbours, is the best known); where they have none either, that of the nearest charge of the element is extrapolated.
Hydride, which Shannon left out, has the radius that Gibb found in hydrides such as BaLiH3 (Prog. Inorg. Chem. 1962, 3,
315). Of two spin states the high-spin radius is taken. Square and pyramidal coordinations are left out: their radii do
not compare with those of the regular ones.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from cgcnn.elements import SYMBOLS
from screening.chemistry.sources import learned_radii

GROWTH_ABOVE_SIX = 0.045
"""Å that a cation grows with each neighbour beyond six: the median towards twelve, over the ions tabulated at twelve
and at six to nine neighbours. It leaves a mean error of 0.03 Å at twelve neighbours."""

GROWTH_BELOW_SIX = 0.075
"""Å that a cation grows with each neighbour from four to six: the median of the table."""

ANION_GROWTH = 0.01
"""Å that an anion grows with each neighbour: oxide and fluoride."""

GROWTH_PER_CHARGE = -0.08
"""Å that a cation with six neighbours grows with each unit of charge: the median of the table."""

HYDRIDE = {(1, -1): {6: 1.40}}
"""Å, of H- with six neighbours."""

_NEIGHBOURS = {
    roman: n
    for n, roman in enumerate(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"), start=1)
}


class Radius(NamedTuple):
    """An ionic radius in Å, NaN where there is none to go by; `imputed` unless it stands in the table."""

    angstrom: float
    imputed: bool


UNKNOWN = Radius(math.nan, imputed=True)


def ionic_radius(z: int, charge: int, neighbours: int) -> Radius:
    """Look up or estimate the radius of an ion.

    See the module for where it is from. Radii that are not positive (those of bare protons) count as unknown.

    Args:
        z: Atomic number.
        charge: Oxidation state.
        neighbours: Coordination number.
    """
    table = shannon(z)
    if neighbours in table.get(charge, {}):
        return Radius(table[charge][neighbours], imputed=False)
    known = table.get(charge) or learned_radii().get((z, charge)) or HYDRIDE.get((z, charge))
    if known:
        radius = _at_coordination(known, neighbours, anion=charge < 0)
    else:
        other = min((q for q in table if q * charge > 0), key=lambda q: (abs(q - charge), q), default=None)
        if other is None:
            return UNKNOWN
        radius = _at_coordination(table[other], neighbours, anion=charge < 0) + GROWTH_PER_CHARGE * (charge - other)
    return Radius(radius, imputed=True) if radius > 0 else UNKNOWN


def nearest_radius(z: int, charge: int, neighbours: int) -> float:
    """Return Shannon's radius of an ion at the coordination nearest to that wanted, in Å.

    NaN where the table lacks the ion.

    Bartel et al. take these for τ, and so has its threshold of 4.18 been found. Of two as near, the smaller
    coordination counts.
    """
    known = shannon(z).get(charge, {})
    return known[min(known, key=lambda n: (abs(n - neighbours), n))] if known else math.nan


@cache
def shannon(z: int) -> dict[int, dict[int, float]]:
    """Return Shannon's radii of an element where they are positive: charge -> number of neighbours -> Å."""
    from pymatgen.core.periodic_table import Element

    table: dict[int, dict[int, float]] = {}
    for charge, coordinations in (Element(SYMBOLS[z]).data.get("Shannon radii") or {}).items():
        for coordination, spins in coordinations.items():
            if charge and coordination in _NEIGHBOURS:  # one entry of the table (Eu) lacks its charge
                spin = spins.get("High Spin") or spins.get("") or spins["Low Spin"]
                if spin["ionic_radius"] > 0:
                    table.setdefault(int(charge), {})[_NEIGHBOURS[coordination]] = float(spin["ionic_radius"])
    return table


def _at_coordination(radii: dict[int, float], neighbours: int, *, anion: bool) -> float:
    """Return the radius at a coordination, Å: as it is known, or as it is expected from the nearest that is."""
    nearest = min(radii, key=lambda n: (abs(n - neighbours), -n))
    if anion:
        return radii[nearest] + ANION_GROWTH * (neighbours - nearest)
    above = max(neighbours, 6) - max(nearest, 6)
    below = min(neighbours, 6) - min(nearest, 6)
    return radii[nearest] + GROWTH_ABOVE_SIX * above + GROWTH_BELOW_SIX * below
