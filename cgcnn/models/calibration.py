"""From the spread of an ensemble to a standard deviation that holds on data it has not seen.

Members agree too much. Of a spread s the standard deviation √((scale · s)² + floor²) is made; scale and floor are those
with the least interval score (Gneiting and Raftery, J. Am. Stat. Assoc. 2007, 102, 359, eq. 43) of the central
90 % interval, which rewards narrow intervals and punishes misses.

Members are too sure of a yes or no as well: of odds o the odds factor · o^power are made, the two with the highest
likelihood (Platt, Advances in Large Margin Classifiers 1999, 61).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating]

LEVEL = 0.9
WIDTH = 1.6448536  # deviations to either side of the mean that hold LEVEL of a normal distribution
SURE = 1e-6  # probabilities nearer to 0 or 1 count as this near
_FLOORS = np.concatenate([[0.0], np.geomspace(0.01, 100, 81)])  # tried, in median spreads


def fit_calibration(error: Values, spread: Values) -> tuple[float, float]:
    """Scale and floor from errors (n,) of predictions on held-out rows, and the members' spreads (n,) there.

    Returns:
        Scale (no unit) and floor (unit of the error).
    """
    miss = np.abs(error).astype(np.float64)
    unit = float(np.median(spread)) or float(miss.mean()) or 1.0
    shapes = [np.sqrt(np.square(spread, dtype=np.float64) + (floor * unit) ** 2) for floor in _FLOORS]
    scales = [_scale(miss, np.maximum(shape, 1e-9 * unit)) for shape in shapes]
    scores = [interval_score(miss, scale * shape) for scale, shape in zip(scales, shapes, strict=True)]
    best = int(np.argmin(scores))
    return scales[best], scales[best] * float(_FLOORS[best]) * unit


def calibrated(spread: NDArray[np.float32], scale: float, floor: float) -> NDArray[np.float32]:
    """Standard deviations (n,) of spreads (n,)."""
    return np.asarray(np.hypot(np.float32(scale) * spread, np.float32(floor)))


def interval_score(error: Values, std: Values) -> float:
    """Mean interval score of the central 90 % intervals; less is better. Unit of the error."""
    reach = WIDTH * std
    return float((2 * reach + 2 / (1 - LEVEL) * np.maximum(np.abs(error) - reach, 0)).mean())


def coverage(error: Values, std: Values) -> float:
    """Share of the errors (n,) that the central 90 % intervals of deviations (n,) hold."""
    return float((np.abs(error) <= WIDTH * std).mean())


def _scale(miss: Values, shape: Values) -> float:
    """The factor of `shape` with the least interval score: a quantile, weighted by the shape, of what would suffice."""
    enough = miss / (WIDTH * shape)
    order = np.argsort(enough)
    share = np.cumsum(shape[order]) / shape.sum()
    return float(enough[order][np.searchsorted(share, LEVEL).clip(max=len(order) - 1)])


def fit_odds(p: Values, yes: NDArray[np.bool_]) -> tuple[float, float]:
    """Power and factor of the odds of probabilities (n,) on held-out rows, from what they were (n,)."""
    from scipy.optimize import minimize

    logit, sign = _logit(np.asarray(p, dtype=np.float64)), np.where(yes, 1.0, -1.0)

    def loss(w: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -(w[0] * logit + w[1]) * sign).mean())

    power, shift = minimize(loss, [1.0, 0.0], bounds=[(0.05, 5.0), (-5.0, 5.0)], method="L-BFGS-B").x
    return float(power), float(np.exp(shift))


def with_odds(p: NDArray[np.float32], power: float, factor: float) -> NDArray[np.float32]:
    """(n,) probabilities whose odds are factor · oddsᵖᵒʷᵉʳ, of probabilities (n,)."""
    odds = factor * np.exp(power * _logit(np.asarray(p, dtype=np.float64)))
    return np.asarray(odds / (1 + odds), dtype=np.float32)


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(p, SURE, 1 - SURE)  # NaN stays
    return np.log(inside / (1 - inside))
