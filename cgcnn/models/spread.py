"""Spread of an ensemble: how much its members disagree, and how uncertain a mixture is by itself."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.network.kernel import Outputs
    from cgcnn.network.settings import Settings

    Values = NDArray[np.float32]


MOST = {"eV/atom": 100.0}
"""Largest magnitude that a prediction in this unit may have; there is no such material, but overflowing weights."""
MOST_OF_ANY = 1e20
"""The same in any other unit, such as Pa."""
IMPOSSIBLE = "the prediction is not a finite number, or far beyond what is possible"
"""Why such a prediction counts as a failure."""


def possible(mean: Values, spread: Values, unit: str) -> tuple[Values, Values]:
    """Means and deviations (n,), NaN in both where they are not finite or beyond what is possible in the unit."""
    wrong = ~((np.abs(mean) <= MOST.get(unit, MOST_OF_ANY)) & np.isfinite(spread))
    return np.where(wrong, np.float32(np.nan), mean), np.where(wrong, np.float32(np.nan), spread)


def mean_of(outputs: Outputs) -> Values:
    """(n, T) over the members of outputs (members, n, T), one after the other, so that bits do not depend on n."""
    found: Values = reduce(np.add, outputs) / np.float32(len(outputs))
    return found


def spread_of(outputs: Outputs, settings: Settings) -> Values:
    """(n, T) standard deviation over the members of outputs (members, n, T).

    That of a mixed target is of the mixture of all members' yes and no, so that it is large too where the members agree
    that the chance is even: its square is the members' variance and the mean of p (1 - p) (yes - no)².
    """
    variance = mean_of(np.square(outputs - mean_of(outputs)))
    if settings.mixed is not None:
        whole, yes, no, chance = settings.mixed
        p, apart = outputs[:, :, chance], outputs[:, :, yes] - outputs[:, :, no]  # (members, n)
        variance[:, whole] += mean_of(p * (1 - p) * np.square(apart))  # (n,)
    return np.asarray(np.sqrt(variance))
