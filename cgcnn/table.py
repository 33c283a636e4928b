"""Labelled rows in the form that a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.prototype import PROTOTYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cgcnn.batch import GraphBatch
    from cgcnn.card import Settings
    from cgcnn.weights import Domain


@dataclass(frozen=True)
class Table:
    """Labelled rows in the form that a recipe's input kind needs.

    Attributes:
        targets: (n, T) float32; NaN where missing.
        fold: (n,) int64; -1 where a row has none.
        species: (n, n_sites) canonical compositions, for prototype input.
        lattice: (n,) Å, lattice constants of the labelled crystals, for prototype input; NaN where unknown.
        graphs: n graphs, for structure input.
    """

    targets: Tensor
    fold: NDArray[np.int64]
    species: NDArray[np.uint8] | None = None
    lattice: NDArray[np.float32] | None = None
    graphs: GraphBatch | None = None

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """The rows where ``chosen`` (n,) is true."""
        return Table(
            self.targets[torch.from_numpy(chosen)],
            self.fold[chosen],
            None if self.species is None else self.species[chosen],
            None if self.lattice is None else self.lattice[chosen],
            None if self.graphs is None else self.graphs.select(torch.from_numpy(np.flatnonzero(chosen))),
        )


def inputs(table: Table, settings: Settings, prototype: str | None, domain: Domain | None) -> GraphBatch:
    """The graphs that a network sees: built from compositions for prototypes, from crystals otherwise."""
    if table.graphs is not None:
        return table.graphs
    if prototype is None or domain is None or table.species is None:
        raise ValueError("prototype input needs a prototype, a domain and compositions")
    shape = PROTOTYPES[prototype]
    return shape.batch(table.species, domain.reference_lattice(shape, table.species), settings.neighbours)
