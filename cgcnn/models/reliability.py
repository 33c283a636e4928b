"""Standard deviations that hold for every element, not only over all: factors of elements, and how well they hold.

Each row has the elements of its sites, as shares of the sites of each role: with X = O2N, two thirds O and one third N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.models.calibration import LEVEL, WIDTH, calibrated, fit_calibration

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cgcnn.models.calibration import Values

    Shares = NDArray[np.float32]

SHRINK = 60  # rows; an element with so many gets half of the factor that they ask for
ROUNDS = 5
PARTS = 5
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_WIDTHS = (0.1257, 0.2533, 0.3853, 0.5244, 0.6745, 0.8416, 1.0364, 1.2816, WIDTH, 1.96)  # of a normal distribution
FEW = 20  # rows; the coverage of elements with fewer says nothing


@dataclass(frozen=True)
class Deviation:
    """From spreads to standard deviations.

    Attributes:
        scale: Factor of the spread.
        floor: Added in squares, in the target's unit.
        log_factors: (C,) natural logarithm of the factor for each column of the shares.
    """

    scale: float
    floor: float
    log_factors: NDArray[np.float64]

    def of(self, spread: Values, shares: Shares) -> NDArray[np.float32]:
        """(n,) standard deviations of spreads (n,), of rows with the shares (n, C)."""
        plain = calibrated(np.asarray(spread, dtype=np.float32), self.scale, self.floor)
        return np.asarray(plain * np.exp(shares @ self.log_factors), dtype=np.float32)


@dataclass(frozen=True)
class Reliability:
    """How often labels were inside intervals, on rows that the deviations were not fitted on.

    Attributes:
        held: Nominal share of a central interval → share of the labels that it held.
        by_element: The share that 90 % intervals held of the rows with an element on a role: 5th and 95th percentile
            over elements and roles with at least `FEW` rows; None without such.
    """

    held: dict[float, float]
    by_element: tuple[float, float] | None


def fit_deviation(error: Values, spread: Values, shares: Shares) -> Deviation:
    """Fit on held-out rows.

    Args:
        error: (n,) of the predictions.
        spread: (n,) of the members.
        shares: (n, C), no columns where rows have no sites.
    """
    scale, floor = fit_calibration(error, spread)
    missed = np.abs(error) / np.maximum(calibrated(np.asarray(spread, np.float32), scale, floor), 1e-9)  # (n,)
    factors = _log_factors(missed, shares)
    rest = missed / np.exp(shares @ factors)
    widen = float(np.quantile(rest, LEVEL)) / WIDTH if shares.any() else 1.0
    return Deviation(scale * widen, floor * widen, factors)


def _log_factors(missed: NDArray[np.float64], shares: Shares) -> NDArray[np.float64]:
    """(C,) by which rows with a column miss more than all do, the other columns' factors allowed for."""
    factors = np.zeros(shares.shape[1])
    rows = [np.flatnonzero(column) for column in shares.T]
    whole = np.quantile(missed, LEVEL) if len(missed) else 1.0
    for _ in range(ROUNDS):
        for c, mine in enumerate(rows):
            if len(mine):
                others = shares[mine] @ factors - shares[mine, c] * factors[c]
                asked = np.quantile(missed[mine] / np.exp(others), LEVEL) / whole
                factors[c] = np.log(np.clip(asked, 0.2, 5.0)) * len(mine) / (len(mine) + SHRINK)
    return factors


def reliability(error: Values, std: Values, shares: Shares) -> Reliability:
    """How deviations (n,) hold that were not fitted on the rows themselves, such as those of `held_out`."""
    missed = np.abs(error) / np.maximum(std, 1e-9)
    held = {level: float((missed <= width).mean()) for level, width in zip(LEVELS, _WIDTHS, strict=True)}
    inside = [(missed[column > 0] <= WIDTH).mean() for column in shares.T if (column > 0).sum() >= FEW]
    ends = tuple(float(end) for end in np.percentile(inside, [5, 95])) if inside else None
    return Reliability(held, ends if ends is None else (ends[0], ends[1]))


def held_out(error: Values, spread: Values, shares: Shares) -> NDArray[np.float32]:
    """(n,) standard deviations, each by a fit on the four fifths of the rows that it is not in."""

    def fitted(rest: NDArray[np.bool_]) -> NDArray[np.float32]:
        return fit_deviation(error[rest], spread[rest], shares[rest]).of(spread[~rest], shares[~rest])

    return in_turn(len(error), fitted)


def in_turn(count: int, fitted: Callable[[NDArray[np.bool_]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """(n,) what fits on four fifths of the rows say of the last one, each in turn.

    Args:
        count: How many rows, n.
        fitted: From which rows to fit on (n,) to what is said of the others.
    """
    part = np.random.default_rng(0).permutation(count) % PARTS
    said = np.ones(count, dtype=np.float32)
    for i in range(PARTS):
        rest = part != i
        if rest.any() and not rest.all():
            said[~rest] = fitted(rest)
    return said
