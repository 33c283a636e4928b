"""Networks of a full grid, for teachers: a set of elements that shares a role, such as O2N, has a vector of its own.

On compositions of a grid that it was fitted on, such a network errs less than one that knows O2N only by the mean of O
and N; of other sets it knows nothing. So it teaches, and does not screen.

Shapes: N nodes, G graphs, R roles, S length of the vectors, k sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from cgcnn.elements import MAX_Z
from cgcnn.network.reference import CGCNN, SiteReadout
from cgcnn.network.settings import ROLES

if TYPE_CHECKING:
    from cgcnn.network.reference import TensorBatch
    from cgcnn.network.settings import Settings

_NAMES = torch.randint(2**48, (ROLES, MAX_Z + 1), generator=torch.Generator().manual_seed(0))  # of an atom on a role


def set_names(batch: TensorBatch) -> Tensor:
    """(G, R) a number that says which elements, and how often each, are on the sites of each role.

    Raises:
        ValueError: The graphs are not of prototypes.
    """
    if batch.role is None:
        raise ValueError("sets of elements are of the roles of prototypes")
    atoms = _NAMES[batch.role, batch.numbers] * batch.multiplicity.long()  # (N,)
    names = torch.zeros(batch.n_graphs * ROLES, dtype=torch.int64)
    return names.index_add(0, batch.graph * ROLES + batch.role, atoms).reshape(-1, ROLES)


def shared_sets(batch: TensorBatch) -> Tensor:
    """(k,) the names of the sets on roles of more than one atom, in increasing order."""
    if batch.role is None:
        raise ValueError("sets of elements are of the roles of prototypes")
    atoms = torch.zeros(batch.n_graphs * ROLES).index_add(0, batch.graph * ROLES + batch.role, batch.multiplicity)
    return torch.from_numpy(np.unique(set_names(batch).reshape(-1)[atoms > 1].numpy()))


class SetReadout(SiteReadout):
    """A readout of sites in which every known set on a role of several atoms adds a vector of its own to their mean."""

    sets: Tensor

    def __init__(self, settings: Settings, features: int, sets: Tensor) -> None:
        super().__init__(settings, features)
        self.register_buffer("sets", sets)  # (k,)
        self.of_set = nn.Parameter(torch.zeros(len(sets) + 1, settings.sites))  # the last is of those not known: zero

    def means(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """(G, R, S) the vectors of A, B and X."""
        names = set_names(batch)
        at = torch.searchsorted(self.sets, names).clamp(max=len(self.sets) - 1)
        which = torch.where(self.sets[at] == names, at, len(self.sets))
        return super().means(batch, element_features) + self.of_set[which]


def grid_network(settings: Settings, element_features: Tensor, sets: Tensor) -> CGCNN:
    """A network with a `SetReadout`.

    Raises:
        ValueError: The settings have no readout of sites.
    """
    made = CGCNN(settings, element_features)
    if made.sites is None:
        raise ValueError("sets: only with a readout of sites")
    made.sites = SetReadout(settings, element_features.shape[1], sets)
    return made
