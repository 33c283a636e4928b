"""Lessons: what networks of other shapes expect of compositions without labels, for the members of a mixture to learn.

Networks of several kinds, the teachers, together err less than any of them on compositions that none has seen; a
network that learns what they expect there, beside the labels that there are, comes near to them (Hinton, Vinyals and
Dean, arXiv:1503.02531). So a few networks do what many would, in the time of a few.

Shapes: n compositions, T targets.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import composition_keys
from cgcnn.models.domain import known_of
from cgcnn.training.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.kernel import Outputs
    from cgcnn.network.settings import Settings


def rest_of_grid(seen: Table, prototypes: Sequence[str]) -> Table:
    """The compositions that the rows of a table span and none of them is, without labels or lattice constants.

    What is on the sites of one role in some row is combined with what is on those of the others in any row.

    Args:
        seen: Rows of compositions.
        prototypes: Names of their prototypes, as the recipe has them.
    """
    kinds = seen.by_prototype(prototypes)
    known, width = known_of(kinds), max(len(kind.sites) for kind, _, _ in kinds)
    rows, shapes = [], []
    for position, (kind, _, species) in enumerate(kinds):
        whole = _span(kind, species)
        new = whole[~np.isin(composition_keys(whole), known)]
        rows.append(np.pad(new, ((0, 0), (0, width - len(kind.sites)))))
        shapes.append(np.full(len(new), position, dtype=np.int8))
    species, shape = np.concatenate(rows), np.concatenate(shapes)
    return Table(
        ids=("",) * len(species),
        targets=np.full((len(species), seen.targets.shape[1]), np.nan, dtype=np.float32),
        fold=np.full(len(species), -1),
        shape=shape,
        species=species,
        lattice=np.full(len(species), np.nan, dtype=np.float32),
    )


def _span(kind: Prototype, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Canonical compositions (n, n_sites) of all that species (k, n_sites) have on each role."""
    made = np.empty((1, len(kind.sites)), dtype=np.uint8)
    for role in range(len(kind.role_names)):
        sites = kind.role_index == role
        choices = np.unique(species[:, sites], axis=0)
        pairs = np.array(list(product(range(len(made)), range(len(choices)))), dtype=np.int64).reshape(-1, 2)
        made = made[pairs[:, 0]]
        made[:, sites] = choices[pairs[:, 1]]
    return np.unique(kind.canonical(made), axis=0)


def expected(outputs: Outputs, settings: Settings) -> NDArray[np.float32]:
    """(n, T) what the members of a mixture are to learn from outputs (networks, n, T) of their teachers.

    It is the teachers' mean of yes, no and the probability, and of these the mixed value with the odds squared: near
    the mixture's median, which errs less than its mean where the likelier of the two is right. NaN of other targets.
    """
    if settings.mixed is None:
        raise ValueError("only the members of a mixture have teachers")
    whole, yes, no, chance = settings.mixed
    mean: NDArray[np.float32] = outputs.mean(axis=0)  # (n, T)
    p = mean[:, chance]
    sure = p**2 / (p**2 + (1 - p) ** 2)
    found = np.full(mean.shape, np.nan, dtype=np.float32)
    found[:, [yes, no, chance]] = mean[:, [yes, no, chance]]
    found[:, whole] = mean[:, no] + sure * (mean[:, yes] - mean[:, no])
    return found
