"""Redox plausibility: whether the ions of a compound leave each other as they are, by standard reduction potentials.

An ion that takes electrons up at a higher potential than another ion, or the anion, gives them away, oxidises it.
The margin is the potential of the weakest reductant less that of the strongest oxidant; both may be the same ion, which
then disproportionates. Halides take the potentials of aqueous ions; oxides, nitrides and chalcogenides those of oxides
and hydroxides. Solids stabilise what water does not, by up to `LEAST_MARGIN`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from cgcnn.elements import SYMBOLS
from screening.chemistry.oxidation import MIXED
from screening.chemistry.sources import NUMBERS, SHAPE, Floats, reduction_potentials

LEAST_MARGIN = -0.5
"""V; K2PbCl6 (-0.33), Cs2CeCl6 (-0.36) and BaTbO3 (-0.47) exist, Cs2NaAgCl6 (-0.54) and CoCl3 (-0.56) do not."""

ANION_POTENTIALS = {
    "F": 2.87, "Cl": 1.36, "Br": 1.07, "I": 0.54, "O": 1.23, "S": 0.14, "Se": -0.40, "Te": -0.79, "N": 0.27,
    "P": -0.06, "As": -0.61, "H": -2.25,
}  # fmt: skip
"""V, acid: of the element and the anion, hydrogen compound (HX) or water (CRC Handbook, Vanýsek)."""

HALIDES = ("I", "Br", "Cl", "F")


class Potentials(NamedTuple):
    """What ions do to each other beside given anions.

    Attributes:
        oxidant: (101, 9) V at which an ion takes electrons up, -inf where nothing is known of it.
        reductant: (101, 9) V at which an ion gives electrons away, inf likewise.
        anion: V at which the most easily oxidised of the anions does.
    """

    oxidant: Floats
    reductant: Floats
    anion: float


def potentials(anions: tuple[int, ...]) -> Potentials:
    """Tabulate the potentials of all ions beside anions.

    Args:
        anions: Atomic numbers.
    """
    names = [SYMBOLS[z] for z in anions]
    halide = all(name in HALIDES for name in names)
    medium = next((name for name in HALIDES if name in names), "") if halide else "oxide"
    return Potentials(*_in_medium(medium), min(ANION_POTENTIALS.get(name, np.inf) for name in names))


@cache
def _in_medium(own: str) -> tuple[Floats, Floats]:
    """`Potentials.oxidant` and `reductant` in a halogen's medium, or that of oxides."""
    couples: dict[tuple[int, int, int], float] = {}
    for medium in ("halide", own):  # the more specific replaces
        couples |= {(z, high, low): volts for z, high, low, where, volts in reduction_potentials() if where == medium}
    oxidant, reductant = np.full(SHAPE, -np.inf), np.full(SHAPE, np.inf)
    for (z, high, low), volts in couples.items():
        oxidant[z, high] = max(oxidant[z, high], volts)
        if low:
            reductant[z, low] = min(reductant[z, low], volts)
    _mix(oxidant, reductant)
    return oxidant, reductant


def _mix(oxidant: Floats, reductant: Floats) -> None:
    """Give mixed valences the potentials of the ions that they consist of; these do not react with each other."""
    for symbol, means in MIXED.items():
        for mean, (low, high) in means.items():
            z = NUMBERS[symbol]
            oxidant[z, mean], reductant[z, mean] = oxidant[z, high], reductant[z, low]
