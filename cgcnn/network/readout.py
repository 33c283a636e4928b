"""What the elements of a perovskite's sites say together, beside what the graph says; see `SiteReadout`.

Shapes: N nodes, G graphs, F element features, R roles, S length of the vectors, P how many vectors.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cgcnn.elements import MAX_Z
from cgcnn.network.settings import ROLES, B

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cgcnn.network.settings import Settings
    from cgcnn.network.tensors import TensorBatch


class SiteReadout(nn.Module):
    """Vectors of A, B and X, their products by twos, and that of all three: (G, PS), for graphs of prototypes.

    The vector of a role is the mean over its atoms of that which their element has on this role. With ``site_spread``
    their variance on B, zero unless B and B' are there, and its products with X and with A go with them.
    """

    def __init__(self, settings: Settings, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, ROLES * settings.sites)
        # Zero at first, so that an element without training rows is described by its features alone.
        self.learned = nn.Parameter(torch.zeros(ROLES, MAX_Z + 1, settings.sites))
        self.dropout = nn.Dropout(settings.site_dropout)
        self.spread = settings.site_spread

    def table(self, element_features: Tensor) -> Tensor:
        """(R, 101, S) the vector of each element on each role, from element features (101, F)."""
        found: Tensor = self.embed(element_features).reshape(len(element_features), ROLES, -1)  # (101, R, S)
        return found.transpose(0, 1) + self.learned

    def forward(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """(G, PS) of the batch's graphs.

        Raises:
            ValueError: They are not of prototypes.
        """
        u = self.means(batch, element_features).unbind(dim=1)  # R of (G, S)
        squares = role_means(batch, self.table(element_features).square())[:, B] if self.spread else None
        return self.joined(u, squares)

    def means(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """(G, R, S) the vectors of A, B and X.

        Raises:
            ValueError: The graphs are not of prototypes.
        """
        return role_means(batch, self.table(element_features))

    def joined(self, u: Sequence[Tensor], squares: Tensor | None) -> Tensor:
        """(G, PS) of the vectors of the roles, R of (G, S), and with spread of the mean of the squares of B (G, S)."""
        parts = [*u, *(a * b for a, b in combinations(u, 2)), u[0] * u[1] * u[2]]
        if squares is not None:
            spread = squares - u[B].square()
            parts += [spread, spread * u[2], spread * u[0]]
        found: Tensor = self.dropout(torch.cat(parts, dim=1))
        return found


def role_means(batch: TensorBatch, table: Tensor) -> Tensor:
    """(G, R, S) the mean over the atoms of each role of what a table (R, 101, S) has for their elements.

    Raises:
        ValueError: The graphs are not of prototypes.
    """
    if batch.role is None:
        raise ValueError("a readout of sites needs graphs of prototypes, whose nodes have roles")
    group = batch.graph * ROLES + batch.role  # (N,)
    atoms = batch.multiplicity.new_zeros(batch.n_graphs * ROLES).index_add(0, group, batch.multiplicity)
    share = batch.multiplicity / atoms[group]  # (N,)
    vectors = table[batch.role, batch.numbers] * share[:, None]  # (N, S)
    sums = vectors.new_zeros(len(atoms), vectors.shape[1]).index_add(0, group, vectors)
    return sums.reshape(batch.n_graphs, ROLES, -1)
