"""Distance of a crystal from those that a model of structures was trained on.

By the shape of its graph: where the neighbours of each atom are, in units of the crystal's own length, whatever the
elements. That tells rutile from perovskite, which the network's vectors do not. And by these, which tell unusual
elements and lengths. Numpy only.

Shapes: n graphs, D fingerprint, C centres, W network width, K axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.graph import CrystalGraph

    Array = NDArray[np.float32]

RANKS = np.array([1, 2, 3, 4, 6, 8, 10, 12])  # neighbours, from the nearest on, whose distances are compared
NEAREST = 1.15  # of the nearest distance; what is nearer counts as bonded
CENTRES = 64
AXES = 16
HELD = 0.99  # share of the training crystals with a distance of at most 1
STRANGE = 0.005  # share of the training crystals that no centre is put on
FINGERPRINT = 2 * (len(RANKS) + 3) + 3  # D
_AT_ONCE = 2048  # rows; bounds memory


@dataclass(frozen=True)
class Likeness:
    """What a model of structures saw in training, in a few kB.

    Attributes:
        centres: (C, D) fingerprints that the training crystals are near to.
        mean: (W,) of the pooled vectors of the first network.
        axes: (K, W) directions in which these vary most, divided by the deviation along them.
        rest: (1,) deviation along any other direction.
        reach: (2,) distance from the centres, and from the mean, that `HELD` of the training crystals have at most.
    """

    centres: Array
    mean: Array
    axes: Array
    rest: Array
    reach: Array

    def distance(self, fingerprints: Array, pooled: Array) -> Array:
        """(n,) how far crystals are from the training, by the worse of their two descriptions; about 1 at its edge.

        Args:
            fingerprints: (n, D) from `fingerprint`.
            pooled: (n, W) pooled vectors of the model's first network.
        """
        far = np.stack([_nearest(fingerprints, self.centres), _spread(pooled, self)])  # (2, n)
        return np.asarray((far / self.reach[:, None]).max(axis=0), dtype=np.float32)


def fit_likeness(fingerprints: Array, pooled: Array) -> Likeness:
    """From the training crystals: fingerprints (n, D) and pooled vectors (n, W) of the first network."""
    mean = pooled.mean(axis=0, dtype=np.float64)
    _, values, directions = np.linalg.svd(pooled - mean, full_matrices=False)
    variance = np.square(values) / len(pooled)
    k = min(AXES, int((variance > 1e-10 * variance[0]).sum()))
    rest = np.sqrt(max(variance[k:].mean(), 1e-6 * variance[k - 1])) if len(variance) > k else np.sqrt(variance[-1])
    axes = directions[:k] / np.sqrt(variance[:k, None])
    centres = _centres(fingerprints)
    parts = (centres, mean, axes, np.atleast_1d(rest), np.ones(2))
    plain = Likeness(*(np.asarray(part, dtype=np.float32) for part in parts))
    far = [_nearest(fingerprints, centres), _spread(pooled, plain)]
    # Of two limits, each holds a share so large that both together hold the share asked for.
    reach = np.array([max(np.quantile(d, (1 + HELD) / 2), 1e-3) for d in far], dtype=np.float32)
    return Likeness(plain.centres, plain.mean, plain.axes, plain.rest, reach)


def fingerprint(graphs: GraphBatch) -> Array:
    """(n, D) of graphs, equal for the quotient and the full graph.

    Mean and deviation over the atoms of: the distances of the neighbours `RANKS`, in units of the crystal's mean
    distance; how many neighbours the shells hold; the share of them that are of another element; how many are bonded.
    Then the shares of the elements: sum of squares, largest, and one over their number.
    """
    rows = np.array([_fingerprint(graph) for graph in graphs.split()], dtype=np.float32)
    return rows.reshape(len(graphs), FINGERPRINT)


def _fingerprint(graph: CrystalGraph) -> NDArray[np.float64]:
    often = graph.edge_multiplicity.astype(np.float64)
    atoms = graph.multiplicity / graph.multiplicity.sum()  # (N,)
    weight = often * atoms[graph.target]  # (E,)
    order = np.lexsort((graph.distance, graph.target))
    length = graph.distance[order] * (weight.sum() / (weight @ graph.distance))
    unlike = (graph.numbers[graph.source] != graph.numbers[graph.target])[order]
    often = often[order]
    ends = np.searchsorted(graph.target[order], np.arange(len(atoms)), side="right")
    rows = [
        _surroundings(length[start:end], often[start:end], unlike[start:end])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    local = np.array(rows)  # (N, d)
    mean = atoms @ local
    deviation = np.sqrt(atoms @ np.square(local - mean))
    shares = np.bincount(graph.numbers, weights=atoms)
    shares = shares[shares > 0]
    return np.array([*mean, *deviation, *(np.array([np.square(shares).sum(), shares.max(), 1 / len(shares)]) / 4)])


def _surroundings(
    length: NDArray[np.float64], often: NDArray[np.float64], unlike: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What is around one atom, each number about as telling as a tenth of a distance."""
    count = np.cumsum(often)
    at = length[np.searchsorted(count, RANKS).clip(max=len(length) - 1)]
    bonded = often[length <= NEAREST * length[0]].sum()
    return np.array([*at, np.log(count[-1] / 12) / 4, (often @ unlike) / count[-1] / 4, np.log(bonded) / 8])


def _centres(points: Array) -> NDArray[np.float64]:
    """(C, D) of the points, each new one as far as possible from the earlier ones, but for the strangest points."""
    points = points.astype(np.float64)
    first = int(np.square(points - np.median(points, axis=0)).sum(axis=1).argmin())
    chosen = [first]
    far = _nearest(points, points[chosen])
    last = int(len(points) * (1 - STRANGE)) - 1
    for _ in range(min(CENTRES, len(points)) - 1):
        chosen.append(int(np.argsort(far, kind="stable")[max(last, 0)]))
        far = np.minimum(far, _nearest(points, points[chosen[-1:]]))
    return np.unique(points[chosen], axis=0)


def _nearest(points: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) distance of points (n, D) from the nearest of the centres (C, D)."""
    parts = [points[i : i + _AT_ONCE, None].astype(np.float64) - centres for i in range(0, len(points), _AT_ONCE)]
    return np.concatenate([np.sqrt(np.square(part).sum(axis=2).min(axis=1)) for part in parts] or [np.empty(0)])


def _spread(pooled: Array, how: Likeness) -> NDArray[np.float64]:
    """(n,) distance of pooled vectors (n, W) from their mean, in deviations, the root mean square over directions."""
    offset = pooled.astype(np.float64) - how.mean
    unit = how.axes / np.linalg.norm(how.axes, axis=1, keepdims=True)  # (K, W)
    along, inside = offset @ how.axes.T, offset @ unit.T  # (n, K)
    beyond = np.maximum(np.square(offset).sum(axis=1) - np.square(inside).sum(axis=1), 0)
    total = np.square(along).sum(axis=1) + beyond / float(how.rest[0]) ** 2
    return np.asarray(np.sqrt(total / offset.shape[1]))
