"""Deviations that grow where there is little to go by: few training rows with an element on its site with its anion.

The half width q of the central 90 % interval is exp(w · h) with a few features h of a row: the members' spread, the
size of the prediction, its prototype, how many training rows support each of its roles, and its anions. The weights are
those with the least pinball loss of log(|error|) at the level 0.9 on held-out rows (Koenker and Bassett, Econometrica
1978, 46, 33), so that the small errors of the first of a ranking count like the large ones of others; those of spread,
size and missing support cannot be negative. The standard deviation is q / 1.645.

Shapes: n rows, R roles, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import compositions
from cgcnn.elements import MAX_Z
from cgcnn.models.calibration import LEVEL, WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.calibration import Values

    Species = NDArray[np.uint8]
    Floats = NDArray[np.float64]

LEAST_SPREAD = 0.003  # eV/atom; added to spreads and
LEAST_SIZE = 0.03  # eV/atom; to predictions before their logarithms
ENOUGH = 200  # rows; more do not narrow an interval further
RIDGE = 1e-4  # penalty of the weights, but for the constant
SHRINK = 5e-3  # that of the anions' own weights
LEAST_ERROR = 0.15  # of the median |error|; added to |error| before its logarithm, as labels are rounded
SMOOTH = 0.02  # how far from its kink the pinball loss is rounded
PLAIN = 4  # features before those of the roles


@dataclass(frozen=True)
class Support:
    """What the training rows of a model hold.

    Attributes:
        counts: (R, 101, 101) how many have an element (second axis) on a role's sites with an anion (third) on X.
    """

    counts: NDArray[np.int32]

    @classmethod
    def of(cls, known: NDArray[np.int64], prototypes: Sequence[Prototype]) -> Support:
        """From the keys of the training compositions, see `cgcnn.data.composition`."""
        counts = np.zeros((len(prototypes[0].role_names), MAX_Z + 1, MAX_Z + 1), dtype=np.int32)
        for prototype in prototypes:
            species = compositions(known, len(prototype.sites))
            for role in range(len(counts)):
                on, x = species[:, prototype.role_index == role], species[:, prototype.on_x]
                row = np.broadcast_to(np.arange(len(species))[:, None, None], (*on.shape, x.shape[1]))
                pairs = np.stack([row, *np.broadcast_arrays(on[:, :, None], x[:, None, :])], axis=-1).reshape(-1, 3)
                found = np.unique(pairs, axis=0)  # once a row
                np.add.at(counts[role], (found[:, 1], found[:, 2]), 1)
        return cls(counts)

    def rows(self, prototype: Prototype, species: Species) -> NDArray[np.int32]:
        """(n, R) the least count over the elements of each role and the anions of species (n, n_sites)."""
        x = species[:, None, prototype.on_x]  # (n, 1, k)
        least = [
            self.counts[role][species[:, prototype.role_index == role, None], x].min(axis=(1, 2))
            for role in range(len(self.counts))
        ]
        return np.stack(least, axis=1)


def features(mean: Values, spread: Values, support: NDArray[np.integer], *, is_double: NDArray[np.bool_]) -> Floats:
    """(n, 4 + R) constant, spread, size, prototype, and missing support of each role.

    Args:
        mean: (n,) predictions, eV/atom.
        spread: (n,) of the members.
        support: (n, R) from `Support.rows`.
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


def anion_shares(prototype: Prototype, species: Species) -> Floats:
    """(n, 101) the share of each element on X of species (n, n_sites)."""
    return np.asarray((species[:, prototype.on_x, None] == np.arange(MAX_Z + 1)).mean(axis=1))


@dataclass(frozen=True)
class SupportDeviation:
    """From features to standard deviations.

    Attributes:
        weights: (F,) of `features`.
        anions: (101,) added for each anion, mean over the X of a row.
    """

    weights: Floats
    anions: Floats

    def of(self, rows: Floats, anions: Floats) -> NDArray[np.float32]:
        """(n,) standard deviations of rows with features (n, F) and the shares of anions (n, 101)."""
        return np.asarray(np.exp(rows @ self.weights + anions @ self.anions) / WIDTH, dtype=np.float32)


def fit_support(error: Values, rows: Floats, anions: Floats) -> SupportDeviation:
    """Fit on held-out rows.

    Args:
        error: (n,) of the predictions.
        rows: (n, F) from `features`.
        anions: (n, 101) from `anion_shares`.
    """
    from scipy.optimize import minimize

    size = np.abs(np.asarray(error, dtype=np.float64))
    miss = np.log(size + LEAST_ERROR * (np.median(size) or 1.0))
    held = np.flatnonzero(anions.any(axis=0))
    design = np.hstack([rows, anions[:, held]])
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0], penalty[rows.shape[1] :] = 0, SHRINK

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
