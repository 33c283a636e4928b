"""What models were trained on, and how far candidates and crystals are from it.

A model of prototypes knows the elements on its sites, its compositions and a reference lattice (`Domain`), its sets of
anions (`AnionSets`) and how many rows hold which element with which anion (`Support`). A model of structures knows its
training crystals by the shape of their graphs, in units of each crystal's own length and whatever the elements, and by
the network's vectors (`Likeness`). The shape tells rutile from perovskite, which the vectors do not; the vectors tell
unusual elements and lengths.

Shapes: n rows or graphs, R roles, K training compositions, D fingerprint, C centres, W network width.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import composition_keys, compositions
from cgcnn.elements import MAX_Z, element_features
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.graphs.prototype import Prototype

    Part = tuple[Prototype, NDArray[np.int64], NDArray[np.uint8]]
    Array = NDArray[np.float32]


RIDGE = 1.0  # penalty of the reference lattice's coefficients; features are of order 1

RANKS = np.array([1, 2, 3, 4, 6, 8, 10, 12])  # a fingerprint compares the distances of these neighbours
NEAREST = 1.15  # times the nearest distance; neighbours up to there count as bonded
CENTRES = 64
AXES = 16
HELD = 0.99  # share of the training crystals with a distance of at most 1
STRANGE = 0.005  # share of the training crystals that never become a centre
FINGERPRINT = 2 * (len(RANKS) + 3) + 3  # D
_AT_ONCE = 2048  # rows; bounds memory


@dataclass(frozen=True)
class Domain:
    """What a model of prototypes saw in training, and the lattice that its graphs are built with.

    Attributes:
        trained: (R, 101) bool, whether an element was trained on a role's sites.
        known: (K,) int64, sorted keys of the training compositions, see `cgcnn.data.composition`.
        lattice: (R, 101) float32, Å; the reference lattice constant sums its site means over the roles.
        lattice_range: (2,) float32, Å; the reference stays within what training saw.
        distance: (R, 101) float32, distance of an element from those trained on a role's sites, see `element_distance`.
        labels: (K,) float32, the lowest label of the first target for each of `known`, NaN without one; (0,) if the
            model does not keep labels.
        bounds: (K,) whether that label is only an upper bound, from a crystal that need not be the lowest; or (0,).
        ids: (K, w) uint8, the id of the row with that label, as UTF-8 padded with NULs; or (0, 0).
    """

    trained: NDArray[np.bool_]
    known: NDArray[np.int64]
    lattice: NDArray[np.float32]
    lattice_range: NDArray[np.float32]
    distance: NDArray[np.float32]
    labels: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    bounds: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    ids: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), dtype=np.uint8))

    def labels_of(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """Look up the labels (n,) of compositions by their keys (n,); NaN for those not in the training."""
        if not len(self.labels):
            return np.full(len(keys), np.nan, dtype=np.float32)
        at, there = self._found(keys)
        return np.where(there, self.labels[at], np.float32(np.nan))

    def bounds_of(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Look up whether the labels of compositions, by their keys (n,), are only upper bounds, (n,)."""
        if not len(self.bounds):
            return np.zeros(len(keys), dtype=np.bool_)
        at, there = self._found(keys)
        return self.bounds[at] & there

    def ids_of(self, keys: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Look up the ids (n, w) of the training rows of compositions by their keys (n,); NULs without one."""
        if not len(self.ids):
            return np.zeros((len(keys), 0), dtype=np.uint8)
        at, there = self._found(keys)
        return self.ids[at] * there[:, None]

    def _found(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find the positions of keys (n,) in `known`, and whether they are there."""
        at = np.searchsorted(self.known, keys).clip(max=len(self.known) - 1)
        return at, self.known[at] == keys

    def reference_lattice(self, prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the lattice constants (n,), Å, with which to build the graphs of species (n, n_sites)."""
        return prototype.role_sums(self.lattice, species).clip(*self.lattice_range)


def fit_domain(parts: Sequence[Part], lattice: NDArray[np.float32]) -> Domain:
    """Collect what rows hold, and fit a reference lattice by ridge regression on the element features of each role.

    The distances of elements need a network and are still 0.

    Args:
        parts: For each prototype (all with the same roles) the prototype, and the positions (k,) and compositions
            (k, n_sites) of its rows.
        lattice: (n,) lattice constants of the rows, Å; NaN where unknown.

    Raises:
        UserError: No row has a lattice constant.
    """
    if np.isnan(lattice).all():
        raise UserError("no record has a lattice constant: give each a cell, or the label a in Å")
    roles = len(parts[0][0].role_names)
    features = element_features().astype(np.float64)  # (101, F)
    means = np.empty((len(lattice), roles, features.shape[1]))  # of the sites of each role
    for prototype, rows, species in parts:
        for role in range(roles):
            means[rows, role] = features[species[:, prototype.role_index == role]].mean(axis=1)
    return _with_lattice(trained_on(parts), known_of(parts), means, lattice)


def trained_on(parts: Sequence[Part]) -> NDArray[np.bool_]:
    """Return which elements are on a role's sites, (R, 101), in rows as of `fit_domain`."""
    trained = np.zeros((len(parts[0][0].role_names), MAX_Z + 1), dtype=np.bool_)
    for prototype, _, species in parts:
        trained[prototype.role_index, species] = True
    return trained


def known_of(parts: Sequence[Part]) -> NDArray[np.int64]:
    """Return the sorted keys (K,) of the compositions of rows as of `fit_domain`."""
    return np.unique(np.concatenate([composition_keys(species) for _, _, species in parts]))


def _with_lattice(
    trained: NDArray[np.bool_], keys: NDArray[np.int64], means: NDArray[np.float64], a: NDArray[np.float32]
) -> Domain:
    """Fit the lattice of rows to the mean features (n, R, F) of their roles and lattice constants a (n,), Å or NaN."""
    known = ~np.isnan(a)
    features = element_features().astype(np.float64)  # (101, F)
    design = means[known].reshape(known.sum(), -1)  # (k, R * F)
    centre = design.mean(axis=0)
    gram = (design - centre).T @ (design - centre) + RIDGE * np.eye(len(centre))
    coefficients = np.linalg.solve(gram, (design - centre).T @ (a[known] - a[known].mean()))
    offset = (a[known].mean() - centre @ coefficients) / len(trained)
    lattice = features @ coefficients.reshape(len(trained), -1).T + offset  # (101, R)
    return Domain(
        trained=trained,
        known=keys,
        lattice=lattice.T.astype(np.float32).copy(),
        lattice_range=np.array([a[known].min(), a[known].max()], dtype=np.float32),
        distance=np.zeros(trained.shape, dtype=np.float32),
    )


def with_labels(
    domain: Domain, parts: Sequence[Part], labels: NDArray[np.float32], bound: NDArray[np.bool_], ids: Sequence[str]
) -> Domain:
    """Add to a domain the lowest label of each composition, whether it is a bound, and the id of its row.

    Args:
        domain: The domain of the rows.
        parts: As of `fit_domain`.
        labels: (n,) labels of the rows; NaN where missing.
        bound: (n,) whether a label is only an upper bound.
        ids: Ids of the n rows.
    """
    rows = np.concatenate([rows for _, rows, _ in parts])
    at = np.searchsorted(domain.known, np.concatenate([composition_keys(species) for *_, species in parts]))
    best = rows[np.lexsort((rows, bound[rows], labels[rows], at))]  # by composition, then by label, NaN last
    of_each = best[np.unique(np.sort(at), return_index=True)[1]]  # (K,)
    texts = np.array([ids[row].encode() for row in of_each], dtype=np.bytes_)
    letters = texts.view(np.uint8).reshape(len(texts), -1)
    return replace(domain, labels=labels[of_each], bounds=bound[of_each], ids=letters)


def element_distance(table: NDArray[np.float32], trained: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far elements are from those trained on a role's sites, (R, 101) float32.

    The distance runs between the networks' initial vectors on the role, to the nearest trained element, and is averaged
    over the members. Its unit is the mean distance of a trained element from the nearest other one: at 1, an element is
    as new as a trained one would have been. It is 0 for trained elements and NaN without element features.

    Args:
        table: (members, R, 101, V), from `cgcnn.network.kernel.role_table`.
        trained: (R, 101) whether an element was trained on a role's sites.
    """
    found = np.mean([_nearest(vectors, trained) for vectors in table.astype(np.float64)], axis=0)
    return np.asarray(found, dtype=np.float32)


def _nearest(vectors: NDArray[np.float64], trained: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distances (R, 101) of vectors (R, 101, V); infinite if fewer than two set the unit."""
    rows = np.zeros(trained.shape)  # (R, 101)
    for role, known in enumerate(trained):
        length = np.linalg.norm(vectors[role, :, None] - vectors[role], axis=2)  # (101, 101)
        np.fill_diagonal(length, np.inf)
        to_trained = length[:, known].min(axis=1, initial=np.inf)  # (101,)
        rows[role, ~known] = to_trained[~known] / to_trained[known].mean() if known.sum() > 1 else np.inf
    return rows


class AnionSets:
    """The sets of anions that a model was trained on (O3, O2N), and how far others are from them.

    A set is described by the mean initial vector of its elements. The unit of distances is as in `element_distance`:
    the mean distance of a trained set from the nearest other one.
    """

    def __init__(self, table: NDArray[np.float32], prototypes: Sequence[Prototype], known: NDArray[np.int64]) -> None:
        """Collect the sets of the training compositions; without any, every set is near.

        Args:
            table: (members, 101, W), from `cgcnn.network.kernel.element_table`.
            prototypes: The prototypes of the model.
            known: (K,) keys of the training compositions, see `cgcnn.data.composition`.
        """
        parts = [_anion_shares(kind, compositions(known, len(kind.sites)))[0] for kind in prototypes]
        self.trained = np.unique(np.concatenate(parts or [np.empty((0, MAX_Z + 1))]), axis=0)  # (S, 101)
        self.vectors = table.astype(np.float64)

    def distance(self, prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how far the sets of canonical species (n, n_sites) are from the nearest trained ones, (n,)."""
        shares, which = _anion_shares(prototype, species)  # (s, 101), (n,)
        if not len(self.trained) or not len(shares):
            return np.zeros(len(species), dtype=np.float32)
        found = np.mean([self._from_nearest(shares, vectors) for vectors in self.vectors], axis=0)  # (s,)
        is_trained = (shares[:, None] == self.trained[None]).all(axis=2).any(axis=1)  # (s,)
        return np.asarray(np.where(is_trained, 0.0, found)[which], dtype=np.float32)

    def _from_nearest(self, shares: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        held = shares.any(axis=0) | self.trained.any(axis=0)  # (101,), others may have no features
        there, mine = self.trained[:, held] @ vectors[held], shares[:, held] @ vectors[held]  # (S, W), (s, W)
        apart = np.linalg.norm(there[:, None] - there[None], axis=2)  # (S, S)
        np.fill_diagonal(apart, np.inf)
        nearest = np.linalg.norm(mine[:, None] - there[None], axis=2).min(axis=1)  # (s,)
        return nearest / apart.min(axis=1).mean() if len(there) > 1 else np.full(len(mine), np.inf)


def _anion_shares(prototype: Prototype, species: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the distinct sets on X of canonical species (n, n_sites) as shares (s, 101), and each row's set (n,)."""
    keys = composition_keys(species[:, prototype.on_x])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return anion_shares(prototype, species[first]).round(6), which  # equal for 2 of 3 and 4 of 6


@dataclass(frozen=True)
class Support:
    """How many training rows support an element on its site with an anion.

    Attributes:
        counts: (R, 101, 101) rows with an element (second axis) on a role's sites and an anion (third) on X.
    """

    counts: NDArray[np.int32]

    @classmethod
    def of(cls, known: NDArray[np.int64], prototypes: Sequence[Prototype]) -> Support:
        """Count the training compositions, given by their keys (see `cgcnn.data.composition`)."""
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

    def rows(self, prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the least count over the elements of each role and the anions of species (n, n_sites), (n, R)."""
        x = species[:, None, prototype.on_x]  # (n, 1, k)
        least = [
            self.counts[role][species[:, prototype.role_index == role, None], x].min(axis=(1, 2))
            for role in range(len(self.counts))
        ]
        return np.stack(least, axis=1)


def anion_shares(prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of each element on X, (n, 101), of species (n, n_sites)."""
    return np.asarray((species[:, prototype.on_x, None] == np.arange(MAX_Z + 1)).mean(axis=1))


@dataclass(frozen=True)
class Likeness:
    """What a model of structures saw in training, in a few kB.

    Attributes:
        centres: (C, D) fingerprints near which the training crystals lie.
        mean: (W,) mean of the first network's pooled vectors.
        axes: (K, W) directions in which these vary most, divided by the deviation along each.
        rest: (1,) deviation along any other direction.
        reach: (2,) distances from the centres, and from the mean, within which `HELD` of the training crystals lie.
    """

    centres: Array
    mean: Array
    axes: Array
    rest: Array
    reach: Array

    def distance(self, fingerprints: Array, pooled: Array) -> Array:
        """Return how far crystals are from the training, (n,), by the worse of both descriptions; about 1 at its edge.

        Args:
            fingerprints: (n, D), from `fingerprint`.
            pooled: (n, W), pooled vectors of the model's first network.
        """
        far = np.stack([_from_centres(fingerprints, self.centres), _from_mean(pooled, self)])  # (2, n)
        return np.asarray((far / self.reach[:, None]).max(axis=0), dtype=np.float32)


def fit_likeness(fingerprints: Array, pooled: Array) -> Likeness:
    """Fit a likeness to the fingerprints (n, D) and pooled vectors (n, W) of the training crystals."""
    mean = pooled.mean(axis=0, dtype=np.float64)
    _, values, directions = np.linalg.svd(pooled - mean, full_matrices=False)
    variance = np.square(values) / len(pooled)
    k = min(AXES, int((variance > 1e-10 * variance[0]).sum()))
    rest = np.sqrt(max(variance[k:].mean(), 1e-6 * variance[k - 1])) if len(variance) > k else np.sqrt(variance[-1])
    axes = directions[:k] / np.sqrt(variance[:k, None])
    centres = _centres(fingerprints)
    parts = (centres, mean, axes, np.atleast_1d(rest), np.ones(2))
    plain = Likeness(*(np.asarray(part, dtype=np.float32) for part in parts))
    far = [_from_centres(fingerprints, centres), _from_mean(pooled, plain)]
    # Each of the two limits holds so large a share that both together hold the share asked for.
    reach = np.array([max(np.quantile(d, (1 + HELD) / 2), 1e-3) for d in far], dtype=np.float32)
    return Likeness(plain.centres, plain.mean, plain.axes, plain.rest, reach)


def fingerprint(graphs: GraphBatch) -> Array:
    """Return the fingerprints (n, D) of graphs; the quotient and the full graph have the same.

    They hold the mean and deviation over the atoms of: the distances of the neighbours `RANKS`, in units of the
    crystal's mean distance; the number of neighbours in the shells; the share of them of another element; the number
    bonded. Three numbers on the elements' shares follow: the sum of squares, the largest, and one over their number.
    """
    rows = np.array([_fingerprint(graph) for graph in graphs.split()], dtype=np.float32)
    return rows.reshape(len(graphs), FINGERPRINT)


def _fingerprint(graph: CrystalGraph) -> NDArray[np.float64]:
    neighbours = graph.edge_multiplicity.astype(np.float64)
    atoms = graph.multiplicity / graph.multiplicity.sum()  # (N,)
    weight = neighbours * atoms[graph.target]  # (E,)
    order = np.lexsort((graph.distance, graph.target))
    length = graph.distance[order] * (weight.sum() / (weight @ graph.distance))
    unlike = (graph.numbers[graph.source] != graph.numbers[graph.target])[order]
    neighbours = neighbours[order]
    ends = np.searchsorted(graph.target[order], np.arange(len(atoms)), side="right")
    rows = [
        _surroundings(length[start:end], neighbours[start:end], unlike[start:end])
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    local = np.array(rows)  # (N, d)
    mean = atoms @ local
    deviation = np.sqrt(atoms @ np.square(local - mean))
    shares = np.bincount(graph.numbers, weights=atoms)
    shares = shares[shares > 0]
    return np.array([*mean, *deviation, *(np.array([np.square(shares).sum(), shares.max(), 1 / len(shares)]) / 4)])


def _surroundings(
    length: NDArray[np.float64], neighbours: NDArray[np.float64], unlike: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Describe the surroundings of one atom in numbers of about equal weight."""
    count = np.cumsum(neighbours)
    at = length[np.searchsorted(count, RANKS).clip(max=len(length) - 1)]
    bonded = neighbours[length <= NEAREST * length[0]].sum()
    return np.array([*at, np.log(count[-1] / 12) / 4, (neighbours @ unlike) / count[-1] / 4, np.log(bonded) / 8])


def _centres(points: Array) -> NDArray[np.float64]:
    """Choose centres (C, D) among the points, each as far as possible from the earlier ones, outliers aside."""
    points = points.astype(np.float64)
    first = int(np.square(points - np.median(points, axis=0)).sum(axis=1).argmin())
    chosen = [first]
    far = _from_centres(points, points[chosen])
    last = int(len(points) * (1 - STRANGE)) - 1
    for _ in range(min(CENTRES, len(points)) - 1):
        chosen.append(int(np.argsort(far, kind="stable")[max(last, 0)]))
        far = np.minimum(far, _from_centres(points, points[chosen[-1:]]))
    return np.unique(points[chosen], axis=0)


def _from_centres(points: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the distance (n,) of points (n, D) from the nearest of the centres (C, D)."""
    parts = [points[i : i + _AT_ONCE, None].astype(np.float64) - centres for i in range(0, len(points), _AT_ONCE)]
    return np.concatenate([np.sqrt(np.square(part).sum(axis=2).min(axis=1)) for part in parts] or [np.empty(0)])


def _from_mean(pooled: Array, how: Likeness) -> NDArray[np.float64]:
    """Return the distance (n,) of pooled vectors (n, W) from the mean: deviations, root mean square over directions."""
    offset = pooled.astype(np.float64) - how.mean
    unit = how.axes / np.linalg.norm(how.axes, axis=1, keepdims=True)  # (K, W)
    along, inside = offset @ how.axes.T, offset @ unit.T  # (n, K)
    beyond = np.maximum(np.square(offset).sum(axis=1) - np.square(inside).sum(axis=1), 0)
    total = np.square(along).sum(axis=1) + beyond / float(how.rest[0]) ** 2
    return np.asarray(np.sqrt(total / offset.shape[1]))
