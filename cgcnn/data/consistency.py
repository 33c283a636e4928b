"""Whether two energies of a crystal come from one calculation.

A formation energy is a total energy less that of the elements. So over a data set the two differ by a sum over the
elements and by the corrections of oxides and fluorides, which are such sums too. Where a crystal is off this sum, its
two energies are of different calculations, and its distance from the hull may be of either.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.elements import MAX_Z
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
