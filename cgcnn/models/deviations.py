"""From the spread of an ensemble to standard deviations that hold on data it has not seen.

Members agree too much, so their spread s becomes √((scale · s)² + floor²). Scale and floor minimise the interval score
(Gneiting and Raftery, J. Am. Stat. Assoc. 2007, 102, 359, eq. 43) of the central 90 % interval, which rewards narrow
intervals and punishes misses. Members are also too sure of a yes or no: odds o become factor · o^power, the two with
the highest likelihood (Platt, Advances in Large Margin Classifiers 1999, 61).

Two refinements look at the elements of a row. `Deviation` has a factor for each element on a role, from the shares of
the role's sites (with X = O2N, two thirds O and one third N). `SupportDeviation` grows where few training rows have an
element on its site with its anion: the half width q of the 90 % interval is exp(w · h) with a few features h of the
row, and the standard deviation is q / 1.645. Its weights minimise the pinball loss of log(|error|) at the level 0.9
(Koenker and Bassett, Econometrica 1978, 46, 33), so that the small errors at the top of a ranking count as much as the
large ones of others. The weights of spread, size and missing support cannot be negative.

Shapes: n rows, T targets, R roles, C columns of shares, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cgcnn.models.card import Target
    from cgcnn.network.kernel import Outputs
    from cgcnn.network.settings import Settings

    Values = NDArray[np.floating]
    Shares = NDArray[np.float32]
    Floats = NDArray[np.float64]

LEVEL = 0.9
WIDTH = 1.6448536  # a normal distribution holds LEVEL within so many standard deviations of its mean
SURE = 1e-6  # probabilities are kept this far from 0 and 1
_FLOORS = np.concatenate([[0.0], np.geomspace(0.01, 100, 81)])  # tried, in median spreads

HALF_WAY = 60  # rows at which an element gets half of the factor that they ask for
ROUNDS = 5
PARTS = 5
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_WIDTHS = (0.1257, 0.2533, 0.3853, 0.5244, 0.6745, 0.8416, 1.0364, 1.2816, WIDTH, 1.96)  # of a normal distribution
FEW = 20  # rows; the coverage of an element with fewer says nothing

LEAST_SPREAD = 0.003  # eV/atom; added to spreads before their logarithm
LEAST_SIZE = 0.03  # eV/atom; added to predictions before their logarithm
ENOUGH = 200  # rows; more do not narrow an interval further
RIDGE = 1e-4  # penalty of the weights, except the constant
ANION_RIDGE = 5e-3  # penalty of the anions' own weights
LEAST_ERROR = 0.15  # of the median |error|; added to |error| before its logarithm, because labels are rounded
SMOOTH = 0.02  # width over which the kink of the pinball loss is rounded
MOST = {"eV/atom": 100.0}
"""Largest magnitude that a prediction in this unit may have; beyond it, weights have overflowed."""
MOST_OF_ANY = 1e20
"""The same in any other unit, such as Pa."""
IMPOSSIBLE = "the prediction is not a finite number, or far beyond what is possible"
"""Why such a prediction counts as a failure."""
PLAIN = 4  # features before those of the roles


def possible(
    mean: NDArray[np.float32], spread: NDArray[np.float32], target: Target | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Set means and deviations (n,) to NaN where they are not finite or beyond what is possible in the target's unit.

    Means below the target's minimum become the minimum: no gap is negative.
    """
    wrong = ~((np.abs(mean) <= MOST.get(target.unit if target else "", MOST_OF_ANY)) & np.isfinite(spread))
    if target is not None and target.minimum is not None:
        mean = np.maximum(mean, np.float32(target.minimum))  # NaN stays
    return np.where(wrong, np.float32(np.nan), mean), np.where(wrong, np.float32(np.nan), spread)


def mean_of(outputs: Outputs) -> NDArray[np.float32]:
    """Average outputs (members, n, T) over the members in sequence, so that bits do not depend on n."""
    found: NDArray[np.float32] = reduce(np.add, outputs) / np.float32(len(outputs))
    return found


def spread_of(outputs: Outputs, settings: Settings) -> NDArray[np.float32]:
    """Return the standard deviation (n, T) over the members of outputs (members, n, T).

    For a mixed target it is that of the mixture of all members' yes and no, and so is large also where the members
    agree on even odds: its square is the members' variance plus the mean of p (1 - p) (yes - no)².
    """
    variance = mean_of(np.square(outputs - mean_of(outputs)))
    if settings.mixed is not None:
        whole, yes, no, chance = settings.mixed
        p, apart = outputs[:, :, chance], outputs[:, :, yes] - outputs[:, :, no]  # (members, n)
        variance[:, whole] += mean_of(p * (1 - p) * np.square(apart))  # (n,)
    return np.asarray(np.sqrt(variance))


def fit_calibration(error: Values, spread: Values) -> tuple[float, float]:
    """Fit scale and floor to errors (n,) and members' spreads (n,) on held-out rows.

    Returns:
        The scale (no unit) and the floor (unit of the error).
    """
    miss = np.abs(error).astype(np.float64)
    unit = float(np.median(spread)) or float(miss.mean()) or 1.0
    shapes = [np.sqrt(np.square(spread, dtype=np.float64) + (floor * unit) ** 2) for floor in _FLOORS]
    scales = [_scale(miss, np.maximum(shape, 1e-9 * unit)) for shape in shapes]
    scores = [interval_score(miss, scale * shape) for scale, shape in zip(scales, shapes, strict=True)]
    best = int(np.argmin(scores))
    return scales[best], scales[best] * float(_FLOORS[best]) * unit


def calibrated(spread: NDArray[np.float32], scale: float, floor: float) -> NDArray[np.float32]:
    """Turn spreads (n,) into standard deviations (n,)."""
    return np.asarray(np.hypot(np.float32(scale) * spread, np.float32(floor)))


def interval_score(error: Values, std: Values) -> float:
    """Return the mean interval score of the central 90 % intervals, in the unit of the error; less is better."""
    reach = WIDTH * std
    return float((2 * reach + 2 / (1 - LEVEL) * np.maximum(np.abs(error) - reach, 0)).mean())


def coverage(error: Values, std: Values) -> float:
    """Return the share of the errors (n,) inside the central 90 % intervals of deviations (n,)."""
    return float((np.abs(error) <= WIDTH * std).mean())


def _scale(miss: Values, shape: Values) -> float:
    """Return the factor of ``shape`` with the least interval score: a shape-weighted quantile of what would suffice."""
    enough = miss / (WIDTH * shape)
    order = np.argsort(enough)
    share = np.cumsum(shape[order]) / shape.sum()
    return float(enough[order][np.searchsorted(share, LEVEL).clip(max=len(order) - 1)])


def fit_odds(p: Values, yes: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit the power and factor of odds to probabilities (n,) and outcomes (n,) on held-out rows."""
    from scipy.optimize import minimize

    logit, sign = _logit(np.asarray(p, dtype=np.float64)), np.where(yes, 1.0, -1.0)

    def loss(w: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -(w[0] * logit + w[1]) * sign).mean())

    power, shift = minimize(loss, [1.0, 0.0], bounds=[(0.05, 5.0), (-5.0, 5.0)], method="L-BFGS-B").x
    return float(power), float(np.exp(shift))


def with_odds(p: NDArray[np.float32], power: float, factor: float) -> NDArray[np.float32]:
    """Turn probabilities (n,) into those (n,) whose odds are factor · oddsᵖᵒʷᵉʳ."""
    odds = factor * np.exp(power * _logit(np.asarray(p, dtype=np.float64)))
    return np.asarray(odds / (1 + odds), dtype=np.float32)


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(p, SURE, 1 - SURE)  # NaN stays
    return np.log(inside / (1 - inside))


@dataclass(frozen=True)
class Deviation:
    """Standard deviations with a factor for each element on a role.

    Attributes:
        scale: Factor of the spread.
        floor: Added in squares, in the target's unit.
        log_factors: (C,) natural logarithm of the factor of each column of the shares.
    """

    scale: float
    floor: float
    log_factors: NDArray[np.float64]

    def of(self, spread: Values, shares: Shares) -> NDArray[np.float32]:
        """Turn spreads (n,) of rows with shares (n, C) into standard deviations (n,)."""
        plain = calibrated(np.asarray(spread, dtype=np.float32), self.scale, self.floor)
        return np.asarray(plain * np.exp(shares @ self.log_factors), dtype=np.float32)


@dataclass(frozen=True)
class Reliability:
    """How many labels intervals hold on rows that the deviations were not fitted on.

    Attributes:
        held: Nominal share of a central interval → share of the labels inside.
        by_element: 5th and 95th percentile, over elements and roles with at least `FEW` rows, of the share that 90 %
            intervals hold; None if no element has so many.
    """

    held: dict[float, float]
    by_element: tuple[float, float] | None


def fit_deviation(error: Values, spread: Values, shares: Shares) -> Deviation:
    """Fit a deviation on held-out rows.

    Args:
        error: (n,) errors of the predictions.
        spread: (n,) spreads of the members.
        shares: (n, C) shares of elements; no columns for rows without sites.
    """
    scale, floor = fit_calibration(error, spread)
    missed = np.abs(error) / np.maximum(calibrated(np.asarray(spread, np.float32), scale, floor), 1e-9)  # (n,)
    factors = _log_factors(missed, shares)
    rest = missed / np.exp(shares @ factors)
    widen = float(np.quantile(rest, LEVEL)) / WIDTH if shares.any() else 1.0
    return Deviation(scale * widen, floor * widen, factors)


def _log_factors(missed: NDArray[np.float64], shares: Shares) -> NDArray[np.float64]:
    """Return by how much rows with a column miss more than all rows, (C,), after the other columns' factors."""
    factors = np.zeros(shares.shape[1])
    rows = [np.flatnonzero(column) for column in shares.T]
    whole = np.quantile(missed, LEVEL) if len(missed) else 1.0
    for _ in range(ROUNDS):
        for c, mine in enumerate(rows):
            if len(mine):
                others = shares[mine] @ factors - shares[mine, c] * factors[c]
                asked = np.quantile(missed[mine] / np.exp(others), LEVEL) / whole
                factors[c] = np.log(np.clip(asked, 0.2, 5.0)) * len(mine) / (len(mine) + HALF_WAY)
    return factors


def reliability(error: Values, std: Values, shares: Shares) -> Reliability:
    """Measure deviations (n,) that were not fitted on the rows themselves, such as those of `held_out`."""
    missed = np.abs(error) / np.maximum(std, 1e-9)
    held = {level: float((missed <= width).mean()) for level, width in zip(LEVELS, _WIDTHS, strict=True)}
    inside = [(missed[column > 0] <= WIDTH).mean() for column in shares.T if (column > 0).sum() >= FEW]
    ends = tuple(float(end) for end in np.percentile(inside, [5, 95])) if inside else None
    return Reliability(held, ends if ends is None else (ends[0], ends[1]))


def held_out(error: Values, spread: Values, shares: Shares) -> NDArray[np.float32]:
    """Return standard deviations (n,), each from a fit on the four fifths of the rows that it is not in."""

    def fitted(rest: NDArray[np.bool_]) -> NDArray[np.float32]:
        return fit_deviation(error[rest], spread[rest], shares[rest]).of(spread[~rest], shares[~rest])

    return in_turn(len(error), fitted)


def in_turn(count: int, fitted: Callable[[NDArray[np.bool_]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Fit on four fifths of the rows and predict the last fifth, for each fifth in turn, (n,).

    Args:
        count: Number of rows, n.
        fitted: Takes which rows to fit on (n,) and returns values for the others.
    """
    part = np.random.default_rng(0).permutation(count) % PARTS
    said = np.ones(count, dtype=np.float32)
    for i in range(PARTS):
        rest = part != i
        if rest.any() and not rest.all():
            said[~rest] = fitted(rest)
    return said


def features(mean: Values, spread: Values, support: NDArray[np.integer], *, is_double: NDArray[np.bool_]) -> Floats:
    """Return the features (n, 4 + R) of rows: constant, spread, size, prototype, and missing support of each role.

    Args:
        mean: (n,) predictions, eV/atom.
        spread: (n,) spreads of the members.
        support: (n, R) from `cgcnn.models.domain.Support.rows`.
        is_double: (n,) whether a row has two B.
    """
    missing = np.log(1 + ENOUGH) - np.log1p(np.minimum(support, ENOUGH))  # (n, R)
    columns = [
        np.ones(len(mean)),
        np.log(np.asarray(spread, dtype=np.float64) + LEAST_SPREAD),
        np.log(np.maximum(np.asarray(mean, dtype=np.float64), 0) + LEAST_SIZE),
        is_double.astype(np.float64),
    ]
    return np.column_stack([*columns, missing])


@dataclass(frozen=True)
class SupportDeviation:
    """Standard deviations that grow where support is missing.

    Attributes:
        weights: (F,) weights of the `features`.
        anions: (101,) added for each anion; a row gets the mean over its X.
    """

    weights: Floats
    anions: Floats

    def of(self, rows: Floats, anions: Floats) -> NDArray[np.float32]:
        """Return standard deviations (n,) of rows with features (n, F) and shares of anions (n, 101)."""
        return np.asarray(np.exp(rows @ self.weights + anions @ self.anions) / WIDTH, dtype=np.float32)


def fit_support(error: Values, rows: Floats, anions: Floats) -> SupportDeviation:
    """Fit a deviation on held-out rows.

    Args:
        error: (n,) errors of the predictions.
        rows: (n, F) from `features`.
        anions: (n, 101) from `cgcnn.models.domain.anion_shares`.
    """
    from scipy.optimize import minimize

    size = np.abs(np.asarray(error, dtype=np.float64))
    miss = np.log(size + LEAST_ERROR * (np.median(size) or 1.0))
    held = np.flatnonzero(anions.any(axis=0))
    design = np.hstack([rows, anions[:, held]])
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0], penalty[rows.shape[1] :] = 0, ANION_RIDGE

    def loss(weights: Floats) -> tuple[float, Floats]:
        q = design @ weights
        over = (miss - q) / SMOOTH
        value = LEVEL * (miss - q) + SMOOTH * np.logaddexp(0, -over)  # smooth pinball
        slope = -LEVEL + 1 / (1 + np.exp(np.clip(over, -500, 500)))
        gradient = design.T @ slope / len(miss) + 2 * penalty * weights
        return float(value.mean() + (penalty * weights**2).sum()), gradient

    start = np.zeros(design.shape[1])
    start[0] = np.quantile(miss, LEVEL)
    bounds = [(None, None), (0, None), (0, None), (None, None), *[(0, None)] * (rows.shape[1] - PLAIN)]
    bounds += [(None, None)] * len(held)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    table = np.zeros(MAX_Z + 1)
    table[held] = found.x[rows.shape[1] :]
    return SupportDeviation(found.x[: rows.shape[1]], table)
