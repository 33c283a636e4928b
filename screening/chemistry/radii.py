"""Ionic radii: Shannon's table as pymatgen has it (Acta Cryst. 1976, A32, 751), and what to take where it has gaps.

Of two spin states the high-spin radius is taken. Square and pyramidal coordinations are left out: their radii do not
compare with those of the regular ones.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from cgcnn.elements import SYMBOLS

GROWTH_ABOVE_SIX = 0.045
"""Å that a cation grows with each neighbour beyond six: the median towards twelve, over the ions tabulated at twelve
and at six to nine neighbours. It leaves a mean error of 0.03 Å at twelve neighbours."""

GROWTH_BELOW_SIX = 0.075
"""Å that a cation grows with each neighbour from four to six: the median of the table."""

ANION_GROWTH = 0.01
"""Å that an anion grows with each neighbour: oxide and fluoride."""

GROWTH_PER_CHARGE = -0.08
"""Å that a cation with six neighbours grows with each unit of charge: the median of the table."""

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
    """The radius of an ion.

    A coordination that is missing is extrapolated from the nearest one of the ion; a charge that is missing, from the
    nearest charge of the element. Radii that are not positive (those of bare protons) count as unknown.

    Args:
        z: Atomic number.
        charge: Oxidation state.
        neighbours: Coordination number.
    """
    table = shannon(z)
    if charge in table:
        radius = _at_coordination(table[charge], neighbours, anion=charge < 0)
    else:
        known = min((q for q in table if q * charge > 0), key=lambda q: (abs(q - charge), q), default=None)
        if known is None:
            return UNKNOWN
        there = _at_coordination(table[known], neighbours, anion=charge < 0)
        radius = Radius(there.angstrom + GROWTH_PER_CHARGE * (charge - known), imputed=True)
    return radius if radius.angstrom > 0 else UNKNOWN


@cache
def shannon(z: int) -> dict[int, dict[int, float]]:
    """Shannon's radii of an element where they are positive: charge -> number of neighbours -> Å."""
    from pymatgen.core.periodic_table import Element  # noqa: PLC0415  # heavy; help and re-ranking need none of it

    table: dict[int, dict[int, float]] = {}
    for charge, coordinations in (Element(SYMBOLS[z]).data.get("Shannon radii") or {}).items():
        for coordination, spins in coordinations.items():
            if charge and coordination in _NEIGHBOURS:  # one entry of the table (Eu) lacks its charge
                spin = spins.get("High Spin") or spins.get("") or spins["Low Spin"]
                if spin["ionic_radius"] > 0:
                    table.setdefault(int(charge), {})[_NEIGHBOURS[coordination]] = float(spin["ionic_radius"])
    return table


def _at_coordination(radii: dict[int, float], neighbours: int, *, anion: bool) -> Radius:
    if neighbours in radii:
        return Radius(radii[neighbours], imputed=False)
    nearest = min(radii, key=lambda n: (abs(n - neighbours), -n))
    if anion:
        return Radius(radii[nearest] + ANION_GROWTH * (neighbours - nearest), imputed=True)
    above = max(neighbours, 6) - max(nearest, 6)
    below = min(neighbours, 6) - min(nearest, 6)
    return Radius(radii[nearest] + GROWTH_ABOVE_SIX * above + GROWTH_BELOW_SIX * below, imputed=True)
