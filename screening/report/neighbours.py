"""The compositions of a model's training that are most similar to a candidate, and their computed energies.

Similarity is by Mendeleev number (Pettifor 1984; as in Villars et al. 2004), in whose sequence elements that replace
one another in crystals are close: the distance of two compositions is that of their elements, role by role.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import composition_keys, compositions
from cgcnn.elements import MAX_Z

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.model import PrototypeModel

COUNT = 5
"""Neighbours of each candidate."""


@dataclass(frozen=True)
class Neighbours:
    """Compositions of a model's training that are near some candidates.

    Attributes:
        species: (k, n_sites) atomic numbers of each, canonical.
        energy: (k,) computed value of the model's first target; NaN if the model does not store it.
        bound: (k,) whether that is only an upper bound, from a crystal that need not be the lowest.
        ids: Row of each in the training; empty if the model does not store it.
        of: (n, m) positions of the nearest to each candidate, the nearest first; m is `COUNT` or less.
    """

    species: NDArray[np.uint8]
    energy: NDArray[np.float32]
    bound: NDArray[np.bool_]
    ids: list[str]
    of: NDArray[np.int64]


def find_neighbours(model: PrototypeModel, species: NDArray[np.uint8], count: int = COUNT) -> Neighbours:
    """Find the compositions of a model's training that are nearest to candidates.

    A candidate that was in the training is among its own neighbours. If the model stores the computed values of its
    training, only compositions with a value count.

    Args:
        model: Model for the prototype of the candidates.
        species: (n, n_sites) atomic numbers.
        count: Number of neighbours of each candidate.
    """
    from scipy.spatial import cKDTree

    trained = compositions(model.domain.known, len(model.prototype.sites))
    if (valued := ~np.isnan(model.domain.labels_of(composition_keys(trained)))).any():
        trained = trained[valued]
    count = min(count, len(trained))
    if not count or not len(species):
        return _look_up(model, trained[:0], np.empty((len(species), 0), dtype=np.int64))
    tree = cKDTree(_places(trained, model.prototype))
    _, found = tree.query(_places(species, model.prototype), k=np.arange(1, count + 1), p=1)
    used, of = np.unique(found, return_inverse=True)
    return _look_up(model, trained[used], of.reshape(found.shape))


def _look_up(model: PrototypeModel, species: NDArray[np.uint8], of: NDArray[np.int64]) -> Neighbours:
    domain, keys = model.domain, composition_keys(species)
    letters = domain.ids_of(keys) if len(keys) else domain.ids[:0]
    ids = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in letters]
    return Neighbours(species, domain.labels_of(keys), domain.bounds_of(keys), ids, of)


def _places(species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.float64]:
    """Place species (n, n_sites) by Mendeleev number: sorted within a role, weighted so that each role counts the same.

    Sorted, the sum of the differences is that of the best matching of the two sides.
    """
    roles = prototype.role_index
    numbers = mendeleev_numbers()[species]
    places = np.empty(species.shape)
    for role in range(len(prototype.role_names)):
        columns = np.flatnonzero(roles == role)
        places[:, columns] = np.sort(numbers[:, columns], axis=1) / len(columns)
    return places


@lru_cache(maxsize=1)
def mendeleev_numbers() -> NDArray[np.float64]:
    """List the Mendeleev numbers by atomic number: (101,)."""
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about elements beyond the table
        numbers = [Element.from_Z(z).mendeleev_no for z in range(1, MAX_Z + 1)]
    return np.nan_to_num(np.array([0.0, *numbers], dtype=np.float64))
