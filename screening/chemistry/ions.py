"""The ions of every element: radii on each site, the charges of anions, electronegativities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z, SYMBOLS
from screening.chemistry.oxidation import MIXED
from screening.chemistry.radii import UNKNOWN, ionic_radius, nearest_radius, shannon
from screening.chemistry.sources import MOST_CHARGE, NUMBERS, Floats

if TYPE_CHECKING:
    from cgcnn.graphs.prototype import Prototype

NEIGHBOURS = {"A": 12, "B": 6, "X": 6}
"""Coordination number of each role."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Ions:
    """The ions of every element; axis 0 is the atomic number, axis 1 of cations the charge, 0 to 8.

    Attributes:
        radius: Role -> Å; (101, 9) for A and B, (101,) for X. NaN where unknown.
        imputed: Role -> whether the radius is not from Shannon's table, in the same shapes.
        nearest: Role -> Shannon's radius at the nearest coordination, Å, likewise; `radius` where there is none.
        anion_charge: (101,) int8, 0 where there is none.
    """

    radius: dict[str, Floats]
    imputed: dict[str, Flags]
    nearest: dict[str, Floats]
    anion_charge: NDArray[np.int8]


@lru_cache(maxsize=1)
def tables() -> Ions:
    """Tabulate the ions of every element up to Z = 100, once a process, from pymatgen's and this package's data."""
    anions = [anion_charge(z) for z in range(MAX_Z + 1)]
    radii = {role: _cation_radii(NEIGHBOURS[role]) for role in ("A", "B")}
    radii |= {"X": np.array([_radii(z, q, NEIGHBOURS["X"]) for z, q in enumerate(anions)])}
    return Ions(
        radius={role: values[..., 0] for role, values in radii.items()},
        imputed={role: values[..., 1].astype(bool) for role, values in radii.items()},
        nearest={role: values[..., 2] for role, values in radii.items()},
        anion_charge=np.array(anions, dtype=np.int8),
    )


def _cation_radii(neighbours: int) -> Floats:
    """Tabulate for every cation its radius, whether it is imputed, and Shannon's nearest, (101, 9, 3)."""
    values = np.array([[_radii(z, q, neighbours) for q in range(MOST_CHARGE + 1)] for z in range(MAX_Z + 1)])
    for symbol, means in MIXED.items():
        for mean, states in means.items():  # a mixed valence has the mean radius of its ions
            values[NUMBERS[symbol], mean] = values[NUMBERS[symbol], list(states)].mean(axis=0)
    return values


def _radii(z: int, charge: int, neighbours: int) -> tuple[float, float, float]:
    radius, imputed = ionic_radius(z, charge, neighbours) if z and charge else UNKNOWN
    near = nearest_radius(z, charge, neighbours) if z and charge else math.nan
    return radius, imputed, radius if math.isnan(near) else near


def sites_of(role: str, prototype: Prototype) -> list[int]:
    """Return the sites of a role, as columns of species."""
    return [site for site, name in enumerate(prototype.roles) if name == role]


def anion_charge(z: int) -> int:
    """Return the charge of an element as an anion: that of its Shannon radius, or else its lowest common state.

    0 for none.
    """
    if z <= 1:
        return -z  # hydride
    from pymatgen.core.periodic_table import Element

    tabulated = [charge for charge in shannon(z) if charge < 0]
    return min(tabulated or [int(q) for q in Element(SYMBOLS[z]).common_oxidation_states if q < 0], default=0)


@lru_cache(maxsize=1)
def electronegativities() -> NDArray[np.float64]:
    """Pauling electronegativities, (101,); NaN for noble gases without one."""
    from pymatgen.core.periodic_table import Element

    values = [Element(SYMBOLS[z]).data.get("X") for z in range(1, MAX_Z + 1)]
    return np.array([np.nan, *(np.nan if value is None else float(value) for value in values)])
