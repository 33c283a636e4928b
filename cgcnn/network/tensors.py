"""A batch of graphs as the reference network reads it: tensors that share the memory of its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from cgcnn.graphs.batch import GraphBatch


@dataclass(frozen=True, eq=False)
class TensorBatch:
    """Graphs side by side as tensors, on one device; see `cgcnn.graphs.batch.GraphBatch`.

    Attributes:
        numbers: (N,) int32, atomic numbers.
        multiplicity: (N,) float32, atoms a node stands for.
        source: (E,) int32, node that sends, counted over the batch.
        target: (E,) int32, node that receives, ascending.
        distance: (E,) float32, Å.
        edge_multiplicity: (E,) float32, neighbours an edge stands for.
        graph: (N,) int64, the graph of each node.
        n_graphs: How many graphs; results have this length, in this order.
        role: (N,) int64, see `cgcnn.graphs.batch.GraphBatch`; None for crystals.
    """

    numbers: Tensor
    multiplicity: Tensor
    source: Tensor
    target: Tensor
    distance: Tensor
    edge_multiplicity: Tensor
    graph: Tensor
    n_graphs: int
    role: Tensor | None = None

    @classmethod
    def of(cls, batch: GraphBatch, device: str = "cpu") -> TensorBatch:
        """The view of a batch; on a device other than "cpu", a copy there."""
        return cls(
            numbers=_tensor(batch.numbers, device).int(),
            multiplicity=_tensor(batch.multiplicity, device).float(),
            source=_tensor(batch.source, device),
            target=_tensor(batch.target, device),
            distance=_tensor(batch.distance, device),
            edge_multiplicity=_tensor(batch.edge_multiplicity, device).float(),
            graph=_tensor(batch.graph, device),
            n_graphs=len(batch),
            role=None if batch.role is None else _tensor(batch.role, device).long(),
        )


def _tensor(array: NDArray[np.generic], device: str) -> Tensor:
    """A tensor over the array's memory; what cannot be written, such as what another process sent, is copied."""
    return torch.from_numpy(np.require(array, requirements="W")).to(device)
