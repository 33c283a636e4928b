"""Whether two energies of a crystal come from one calculation, and formation energies on one scale.

A formation energy is a total energy less that of the elements. So over a data set the two differ by a sum over the
elements and by the corrections of oxides and fluorides, which are such sums too. Where a crystal is off this sum, its
two energies are of different calculations, and its distance from the hull may be of either.

The Materials Project changed its corrections in 2020, and with them every formation energy: of a bromide ABX3 by 0.32
eV/atom. `on_mp2020` puts older ones on the newer scale.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.data.sample import Sample

TOLERANCE = 0.02  # eV/atom; of the Materials Project's perovskites 97 in 100 are within 0.0005
_LEAST = 10  # crystals to each number that is fitted; of fewer nothing is said
_CORRECTED = {8, 9}  # O, F
_ROUNDS = 40


def agreeing(samples: Sequence[Sample], first: str, second: str) -> list[Sample]:
    """The samples without those whose two energies are of different calculations.

    Those that are no crystals or lack one of the energies stay, and so do all where there are too few to tell.

    Args:
        samples: Of one data set, with crystals.
        first: Label of an energy, eV/atom.
        second: Label of another.
    """
    told = [i for i, s in enumerate(samples) if s.labels.get(first) is not None and s.labels.get(second) is not None]
    shares = [_element_shares(samples[i]) for i in told]
    told = [i for i, row in zip(told, shares, strict=True) if row is not None]
    if not told:
        return list(samples)
    x = np.stack([row for row in shares if row is not None])  # (k, 2 * 101)
    y = np.array([float(samples[i].labels[first]) - float(samples[i].labels[second]) for i in told])
    off = np.abs(_residual(x, y)) > TOLERANCE
    wrong = {i for i, is_off in zip(told, off.tolist(), strict=True) if is_off}
    return [sample for i, sample in enumerate(samples) if i not in wrong]


FORMATION = "formation_energy"
_GASES = {"H": -3.3927, "N": -8.3365, "F": -1.9115, "Cl": -1.8485}  # eV/atom, of H2 … as the Materials Project has them


def on_mp2020(samples: Sequence[Sample]) -> list[Sample]:
    """Put formation energies with the Materials Project's corrections before 2020 on the scale of 2020.

    Samples without a formation energy stay as they are; where there is one and no crystal, it is left out.

    Args:
        samples: Of one data set, with crystals.
    """
    return [_on_mp2020(sample) for sample in samples]


def _on_mp2020(sample: Sample) -> Sample:
    if sample.labels.get(FORMATION) is None:
        return sample
    try:
        symbols = structure(sample.form, sample.content).atomic_numbers
    except UserError:
        return replace(sample, labels=sample.labels | {FORMATION: None})
    shift = legacy_minus_2020(Counter(SYMBOLS[z] for z in symbols))
    return replace(sample, labels=sample.labels | {FORMATION: float(sample.labels[FORMATION]) - shift})


def legacy_minus_2020(formula: Mapping[str, int]) -> float:
    """Work out how much higher a formation energy is before the Materials Project's corrections of 2020, eV/atom.

    Both tables of corrections are pymatgen's. The raw energies cancel, but for those of H2, N2, F2 and Cl2, which the
    older corrections replace. Oxygen counts as oxide, sulphur as sulphide: no perovskite has it otherwise.

    Args:
        formula: Symbol → number of atoms.
    """
    units = gcd(*formula.values())
    return _legacy_minus_2020(tuple(sorted((symbol, count // units) for symbol, count in formula.items())))


@dataclass(frozen=True)
class _Corrections:
    """Tables of corrections, eV an atom of the element.

    Attributes:
        anions: Symbol → correction where it is an anion, of 2020.
        oxide, sulphide: Those before.
        gases: Symbol → energy of the gas, before.
        mixing: For both, the most electronegative element → metal → correction of GGA+U.
    """

    anions: Mapping[str, float]
    oxide: float
    sulphide: float
    gases: Mapping[str, float]
    mixing: tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]


@cache
def _corrections() -> _Corrections:
    from pymatgen.entries import compatibility  # a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the older ones are old is what they are here for
        before: dict[str, Any] = {}
        for part in compatibility.MaterialsProjectCompatibility().corrections:
            before |= vars(part)
        now = compatibility.MaterialsProject2020Compatibility()
    return _Corrections(
        anions=now.comp_correction,
        oxide=before["oxide_correction"]["oxide"],
        sulphide=before["sulfide_correction"]["sulfide"],
        gases={symbol: before["cpd_energies"][f"{symbol}2"] for symbol in _GASES},
        mixing=(before["u_corrections"], now.u_corrections),
    )


@cache
def _legacy_minus_2020(formula: tuple[tuple[str, int], ...]) -> float:
    from pymatgen.core.composition import Composition
    from pymatgen.core.periodic_table import Element

    table, counts = _corrections(), dict(formula)
    most = max(counts, key=lambda symbol: Element(symbol).X)
    guesses = Composition(counts).oxi_state_guesses(max_sites=-20)  # as the Materials Project finds its anions
    charges = guesses[0] if guesses else {}
    older, newer = (mixing.get(most, {}) for mixing in table.mixing)
    shift = 0.0
    for symbol, count in counts.items():
        is_anion = symbol == most or charges.get(symbol, 0) < 0
        before = {"O": table.oxide, "S": table.sulphide}.get(symbol, 0.0)
        now = table.anions["oxide"] if symbol == "O" else table.anions.get(symbol, 0.0) * is_anion
        element = table.gases[symbol] - _GASES[symbol] if symbol in _GASES else 0.0
        shift += count * (before + older.get(symbol, 0.0) - now - newer.get(symbol, 0.0) - element)
    return shift / sum(counts.values())


def _element_shares(sample: Sample) -> NDArray[np.float64] | None:
    """(2 * 101,) the shares of the elements of a crystal, in the second half if it is an oxide or a fluoride."""
    try:
        counts = Counter(structure(sample.form, sample.content).atomic_numbers)
    except UserError:
        return None
    row = np.zeros((2, MAX_Z + 1))
    for number, count in counts.items():
        row[int(bool(_CORRECTED & counts.keys())), number] = count / counts.total()
    return row.ravel()


def _residual(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) how far numbers are off the sum over columns that fits most of them; zeros where there are too few.

    The sum has the least absolute error, by repeated weighted least squares.
    """
    x = x[:, x.any(axis=0)]
    if len(y) < _LEAST * x.shape[1]:
        return np.zeros(len(y))
    weight, off = np.ones(len(y)), y
    for _ in range(_ROUNDS):
        normal = (x * weight[:, None]).T @ x + 1e-6 * np.eye(x.shape[1])
        off = y - x @ np.linalg.solve(normal, (x * weight[:, None]).T @ y)
        weight = 1 / np.maximum(np.abs(off), TOLERANCE / 10)
    return off
