"""The ions of every element: oxidation states in order of preference, radii on each site, electronegativity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z, SYMBOLS
from screening.chemistry.radii import UNKNOWN, Radius, ionic_radius, shannon

NEIGHBOURS = {"A": 12, "B": 6, "X": 6}
"""Coordination number of each role."""

MOST_RELUCTANCE = 2
"""Reluctance of the least likely states, those that only Shannon's table has."""

NO_STATE = 25
"""Reluctance of a state that does not exist: more than any sum over states that do."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Ions:
    """The ions of every element; axis 0 is the atomic number, axis 1 of cations the state, the preferred one first.

    Attributes:
        charge: (101, S) int8 oxidation states of cations, 0 where there is none.
        reluctance: (101, S) int8; 0 for common states, 1 for those of the ICSD, 2 for those of Shannon's table only.
        radius: Role -> Å; (101, S) for A and B, (101,) for X. NaN where unknown.
        imputed: Role -> whether the radius is not from the table, in the same shapes.
        anion_charge: (101,) int8, 0 where there is none.
        state: (101, Q) int8; the state with the charge of the column, -1 where there is none.
    """

    charge: NDArray[np.int8]
    reluctance: NDArray[np.int8]
    radius: dict[str, Floats]
    imputed: dict[str, Flags]
    anion_charge: NDArray[np.int8]
    state: NDArray[np.int8]


@lru_cache(maxsize=1)
def tables() -> Ions:
    """The ions of every element up to Z = 100, made once a process from pymatgen's data."""
    elements = range(MAX_Z + 1)
    states = [cation_states(z) for z in elements]
    anions = [anion_charge(z) for z in elements]
    most = max(map(len, states))
    padded = np.array([[*of, *[(0, NO_STATE)] * (most - len(of))] for of in states], dtype=np.int8)  # (101, S, 2)
    cation = {
        role: np.array([[_radius(z, int(q), role) for q in padded[z, :, 0]] for z in elements]) for role in ("A", "B")
    }
    radii = cation | {"X": np.array([_radius(z, q, "X") for z, q in enumerate(anions)])}
    return Ions(
        charge=padded[:, :, 0],
        reluctance=padded[:, :, 1],
        radius={role: values[..., 0] for role, values in radii.items()},
        imputed={role: values[..., 1].astype(bool) for role, values in radii.items()},
        anion_charge=np.array(anions, dtype=np.int8),
        state=_state_of_charge(padded[:, :, 0]),
    )


def _state_of_charge(charge: NDArray[np.int8]) -> NDArray[np.int8]:
    table = np.full((len(charge), charge.max() + 1), -1, dtype=np.int8)
    z, state = np.nonzero(charge)
    table[z, charge[z, state]] = state
    return table


def cation_states(z: int) -> list[tuple[int, int]]:
    """The positive oxidation states of an element with their reluctance, the preferred one first."""
    if z == 0:
        return []
    from pymatgen.core.periodic_table import Element  # noqa: PLC0415  # heavy; help and re-ranking need none of it

    element = Element(SYMBOLS[z])
    reluctance: dict[int, int] = {}
    for level, states in enumerate((element.common_oxidation_states, element.icsd_oxidation_states, shannon(z))):
        for state in states:
            if state > 0:
                reluctance.setdefault(int(state), level)
    return sorted(reluctance.items(), key=lambda item: (item[1], item[0]))


def anion_charge(z: int) -> int:
    """The charge of an element as an anion: that of its Shannon radius, or else its lowest common state; 0 for none."""
    if z == 0:
        return 0
    from pymatgen.core.periodic_table import Element  # noqa: PLC0415  # heavy; help and re-ranking need none of it

    tabulated = [charge for charge in shannon(z) if charge < 0]
    return min(tabulated or [int(q) for q in Element(SYMBOLS[z]).common_oxidation_states if q < 0], default=0)


def _radius(z: int, charge: int, role: str) -> Radius:
    return ionic_radius(z, charge, NEIGHBOURS[role]) if charge else UNKNOWN


@lru_cache(maxsize=1)
def electronegativities() -> NDArray[np.float64]:
    """Pauling electronegativities, (101,); NaN for noble gases without one."""
    from pymatgen.core.periodic_table import Element  # noqa: PLC0415  # heavy; help and re-ranking need none of it

    values = [Element(SYMBOLS[z]).data.get("X") for z in range(1, MAX_Z + 1)]
    return np.array([np.nan, *(np.nan if value is None else float(value) for value in values)])
