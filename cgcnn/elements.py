"""Element symbols, and the features that a network starts from, one row per atomic number."""

from __future__ import annotations

import math
import warnings
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.periodic_table import Element

MAX_Z = 100
_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm
"""
# Index = atomic number. Written out so that reading compositions needs no pymatgen import.
SYMBOLS: tuple[str, ...] = ("", *_TABLE.split())
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if symbol}
_OXIDATION_STATES = tuple(range(-4, 9))


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element symbol such as ``"Ti"``.

    Raises:
        UserError: The symbol is no element up to Z = 100.
    """
    try:
        return _NUMBERS[symbol]
    except KeyError:
        close = get_close_matches(str(symbol)[:3].capitalize(), SYMBOLS[1:], n=1, cutoff=0.5)
        meant = f"Did you mean {close[0]}?" if close else "Use symbols such as Ca or Ti."
        raise UserError(
            f"{symbol!r} is not the symbol of an element from H to {SYMBOLS[MAX_Z]} (Z = {MAX_Z}). {meant}"
        ) from None


@lru_cache(maxsize=1)
def element_features() -> NDArray[np.float32]:
    """Return the features of every element up to Z = 100, from pymatgen's element data.

    They are: one-hot period, group and block; multi-hot common oxidation states; standardised continuous properties,
    each with an indicator for a missing value (which is then 0, the mean).

    Returns:
        (101, F) float32; row 0 is zero. No two rows from 1 on are equal.
    """
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns for each missing value; missing values are features here
        elements = [Element.from_Z(z) for z in range(1, MAX_Z + 1)]
        categories = np.array([_categories(element) for element in elements])
        continuous = np.array([_continuous(element) for element in elements])
    features = np.hstack([categories, _standardised(continuous), np.isnan(continuous)])
    features = features[:, features.std(axis=0) > 0]
    return np.vstack([np.zeros((1, features.shape[1])), features]).astype(np.float32)


def _categories(element: Element) -> list[float]:
    """Return period, group, block and common oxidation states as zeros and ones."""
    return [
        *_one_hot(element.row, range(1, 8)),
        # pymatgen puts the f block into group 3; it gets a column of its own
        *_one_hot(0 if element.block == "f" else element.group, range(19)),
        *_one_hot("spdf".index(element.block), range(4)),
        *(float(state in element.common_oxidation_states) for state in _OXIDATION_STATES),
    ]


def _one_hot(value: int, values: Sequence[int]) -> list[float]:
    return [float(value == v) for v in values]


def _continuous(element: Element) -> list[float]:
    """Return the continuous properties; NaN if pymatgen has no value."""
    shells = {"s": 0, "p": 0, "d": 0, "f": 0}
    filled = {"s": 2, "p": 6, "d": 10, "f": 14}
    for n, orbital, electrons in element.full_electronic_structure:
        if electrons < filled[orbital] or n == element.row:
            shells[orbital] += electrons
    ionisation = [*element.ionization_energies, math.nan, math.nan, math.nan]
    radii = list(element.ionic_radii.values())
    oxidation = element.common_oxidation_states or (math.nan,)
    return [
        _number(value)
        for value in (
            element.Z,
            element.mendeleev_no,
            element.X,
            element.electron_affinity,
            element.atomic_radius,
            element.atomic_radius_calculated,
            element.van_der_waals_radius,
            element.average_ionic_radius or math.nan,
            max(radii, default=math.nan),
            min(radii, default=math.nan),
            *(ionisation[i] for i in range(3)),
            element.molar_volume,
            element.melting_point,
            max(oxidation),
            min(oxidation),
            *shells.values(),
        )
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale columns to mean 0 and deviation 1 over the known values; unknown ones become 0."""
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    scaled: NDArray[np.float64] = np.nan_to_num((values - mean) / np.where(std > 0, std, 1.0))
    return scaled
