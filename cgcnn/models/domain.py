"""What a prototype model was trained on: elements on sites, compositions, lattices; and how far others are from it."""

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

    from cgcnn.graphs.prototype import Prototype

    Part = tuple[Prototype, NDArray[np.int64], NDArray[np.uint8]]

RIDGE = 1.0  # penalty of the reference lattice's coefficients; features are of order 1


@dataclass(frozen=True)
class Domain:
    """What a prototype model saw in training, and the lattice that its graphs are built with.

    Attributes:
        trained: (R, 101) bool, whether an element was trained on a role's sites.
        known: (K,) int64, sorted keys of the training compositions, see `cgcnn.data.composition`.
        lattice: (R, 101) float32, Å; the reference lattice constant is the sum over roles of the site means of this.
        lattice_range: (2,) float32, Å; the reference is kept inside what training saw.
        distance: (R, 101) float32, how far an element is from those trained on a role's sites, see `element_distance`.
        labels: (K,) float32, the first target's lowest label of each of `known`, NaN where there is none; (0,) of
            models that do not keep them.
        bounds: (K,) whether that label is only an upper bound: that of a crystal that need not be the lowest; or (0,).
        ids: (K, w) uint8, the id of the row with that label, as UTF-8 with NULs behind; (0, 0) likewise.
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
        """(n,) labels of compositions by their keys (n,); NaN of those that were not in the training."""
        if not len(self.labels):
            return np.full(len(keys), np.nan, dtype=np.float32)
        at, there = self._found(keys)
        return np.where(there, self.labels[at], np.float32(np.nan))

    def bounds_of(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether labels of compositions by their keys (n,) are only upper bounds."""
        if not len(self.bounds):
            return np.zeros(len(keys), dtype=np.bool_)
        at, there = self._found(keys)
        return self.bounds[at] & there

    def ids_of(self, keys: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n, w) ids of the training rows of compositions by their keys (n,), as in `ids`; NULs where there is none."""
        if not len(self.ids):
            return np.zeros((len(keys), 0), dtype=np.uint8)
        at, there = self._found(keys)
        return self.ids[at] * there[:, None]

    def _found(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where in `known` keys (n,) stand, and whether they do."""
        at = np.searchsorted(self.known, keys).clip(max=len(self.known) - 1)
        return at, self.known[at] == keys

    def reference_lattice(self, prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) Å, the lattice constants that the input graphs of species (n, n_sites) are built with."""
        return prototype.role_sums(self.lattice, species).clip(*self.lattice_range)


def fit_domain(parts: Sequence[Part], lattice: NDArray[np.float32]) -> Domain:
    """What rows hold, and a reference lattice by ridge regression on the element features of each role.

    The distances of elements are those of a network, and still 0.

    Args:
        parts: Of each prototype, whose roles are the same: the prototype, and the positions (k,) and compositions
            (k, n_sites) of its rows.
        lattice: (n,) Å, lattice constants of the rows; NaN where unknown.

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
    """(R, 101) which elements are on a role's sites in rows as of `fit_domain`."""
    trained = np.zeros((len(parts[0][0].role_names), MAX_Z + 1), dtype=np.bool_)
    for prototype, _, species in parts:
        trained[prototype.role_index, species] = True
    return trained


def known_of(parts: Sequence[Part]) -> NDArray[np.int64]:
    """(K,) sorted keys of the compositions of rows as of `fit_domain`."""
    return np.unique(np.concatenate([composition_keys(species) for _, _, species in parts]))


def _with_lattice(
    trained: NDArray[np.bool_], keys: NDArray[np.int64], means: NDArray[np.float64], a: NDArray[np.float32]
) -> Domain:
    """The domain of rows whose roles have the mean features (n, R, F) and the lattice constants a (n,), Å or NaN."""
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
    """A domain that knows the lowest label of each of its compositions, whether it is a bound, and of which row it is.

    Args:
        domain: Of the rows.
        parts: As of `fit_domain`.
        labels: (n,) of the rows; NaN where missing.
        bound: (n,) where a label is only an upper bound.
        ids: Of the n rows.
    """
    rows = np.concatenate([rows for _, rows, _ in parts])
    at = np.searchsorted(domain.known, np.concatenate([composition_keys(species) for *_, species in parts]))
    best = rows[np.lexsort((rows, bound[rows], labels[rows], at))]  # by composition, then by label, NaN last
    of_each = best[np.unique(np.sort(at), return_index=True)[1]]  # (K,)
    texts = np.array([ids[row].encode() for row in of_each], dtype=np.bytes_)
    letters = texts.view(np.uint8).reshape(len(texts), -1)
    return replace(domain, labels=labels[of_each], bounds=bound[of_each], ids=letters)


def element_distance(table: NDArray[np.float32], trained: NDArray[np.bool_]) -> NDArray[np.float32]:
    """How far elements are from those trained on a role's sites, (R, 101) float32 from ``trained`` (R, 101).

    The distance is that of the vectors with which the networks start for the elements on the role, to the nearest of
    the trained ones, mean over the members. Its unit is the mean distance of a trained element from the nearest other
    one, so that at 1 an element is as new as a trained one would have been. 0 where trained; NaN without element
    features.

    Args:
        table: (members, R, 101, V), from `cgcnn.network.kernel.role_table`.
        trained: (R, 101) whether an element was trained on a role's sites.
    """
    found = np.mean([_nearest(vectors, trained) for vectors in table.astype(np.float64)], axis=0)
    return np.asarray(found, dtype=np.float32)


def _nearest(vectors: NDArray[np.float64], trained: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R, 101) distances of vectors (R, 101, V); infinite where fewer than two were trained: those set the unit."""
    rows = np.zeros(trained.shape)  # (R, 101)
    for role, known in enumerate(trained):
        length = np.linalg.norm(vectors[role, :, None] - vectors[role], axis=2)  # (101, 101)
        np.fill_diagonal(length, np.inf)
        to_trained = length[:, known].min(axis=1, initial=np.inf)  # (101,)
        rows[role, ~known] = to_trained[~known] / to_trained[known].mean() if known.sum() > 1 else np.inf
    return rows


class AnionSets:
    """The sets of anions that a model was trained on (O3, O2N), and how far others are from them.

    A set is described by the mean of the vectors that the networks start with for its elements. The unit of distances
    is as in `element_distance`: what a trained set is from the nearest other one.
    """

    def __init__(self, table: NDArray[np.float32], prototypes: Sequence[Prototype], known: NDArray[np.int64]) -> None:
        """From the keys of the training compositions, see `cgcnn.data.composition`; without any, every set is near.

        The vectors are those of ``table`` (members, 101, W), see `cgcnn.network.kernel.element_table`.
        """
        parts = [_anion_shares(kind, compositions(known, len(kind.sites)))[0] for kind in prototypes]
        self.trained = np.unique(np.concatenate(parts or [np.empty((0, MAX_Z + 1))]), axis=0)  # (S, 101)
        self.vectors = table.astype(np.float64)

    def distance(self, prototype: Prototype, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) of the sets of canonical species (n, n_sites) from the nearest trained ones; 0 if trained."""
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
    """Sets on X of canonical species (n, n_sites): the share of each element (s, 101), and the set of each row (n,)."""
    sites = species[:, prototype.on_x]  # (n, k)
    _, first, which = np.unique(composition_keys(sites), return_index=True, return_inverse=True)
    shares = (sites[first, :, None] == np.arange(MAX_Z + 1)).mean(axis=1).round(6)  # as 2/3 of 3 and 4/6 of 6
    return shares, which
