"""Labelled rows in the form that a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.domain import Domain
    from cgcnn.network.settings import Settings


@dataclass(frozen=True)
class Table:
    """Labelled rows in the form that a recipe's input kind needs.

    Attributes:
        targets: (n, T) float32; NaN where missing.
        fold: (n,) int64; -1 where a row has none.
        shape: (n,) int8, each row's prototype as its position in the recipe's list, for prototype input.
        species: (n, n_sites) canonical compositions, for prototype input; 0 beyond the sites of a row's prototype.
        lattice: (n,) Å, lattice constants of the labelled crystals, for prototype input; NaN where unknown.
        graphs: N graphs, for structure input.
    """

    targets: Tensor
    fold: NDArray[np.int64]
    shape: NDArray[np.int8] | None = None
    species: NDArray[np.uint8] | None = None
    lattice: NDArray[np.float32] | None = None
    graphs: GraphBatch | None = None

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """The rows where ``chosen`` (n,) is true."""
        return Table(
            self.targets[torch.from_numpy(chosen)],
            self.fold[chosen],
            None if self.shape is None else self.shape[chosen],
            None if self.species is None else self.species[chosen],
            None if self.lattice is None else self.lattice[chosen],
            None if self.graphs is None else self.graphs.select(np.flatnonzero(chosen)),
        )

    def of(self, position: int, prototype: Prototype) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Positions (k,) and compositions (k, n_sites) of the rows of the recipe's ``position``-th prototype."""
        if self.shape is None or self.species is None:
            raise ValueError("crystals have no prototype")
        rows = np.flatnonzero(self.shape == position)
        return rows, self.species[rows, : len(prototype.sites)]

    def by_prototype(self, prototypes: Sequence[str]) -> list[tuple[Prototype, NDArray[np.int64], NDArray[np.uint8]]]:
        """Each of the recipe's prototypes with the positions and compositions of its rows, see `of`."""
        kinds = [PROTOTYPES[name] for name in prototypes]
        return [(kind, *self.of(position, kind)) for position, kind in enumerate(kinds)]

    @property
    def lattices(self) -> NDArray[np.float32]:
        """`lattice`, of a table that has prototypes."""
        if self.lattice is None:
            raise ValueError("crystals have no prototype")
        return self.lattice


def inputs(table: Table, settings: Settings, prototypes: Sequence[str], domain: Domain | None) -> GraphBatch:
    """The graphs that a network sees: built from compositions for prototypes, from crystals otherwise."""
    if table.graphs is not None:
        return table.graphs
    if domain is None:
        raise ValueError("prototype input needs a domain")
    parts = table.by_prototype(prototypes)
    batches = [
        GraphBatch.of_prototype(prototype, species, domain.reference_lattice(prototype, species), settings.neighbours)
        for prototype, _, species in parts
    ]
    place = np.empty(len(table.targets), dtype=np.int64)  # of each row in the batches together
    place[np.concatenate([rows for _, rows, _ in parts])] = np.arange(len(place))
    return GraphBatch.concatenate(batches).select(place)
