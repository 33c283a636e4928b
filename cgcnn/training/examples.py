"""Graphs with their labels, as networks are fitted to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgcnn.network.tensors import TensorBatch

if TYPE_CHECKING:
    from torch import Tensor

    from cgcnn.graphs.batch import GraphBatch


@dataclass(frozen=True, eq=False)
class Examples:
    """Graphs with their labels.

    Attributes:
        graphs: n graphs.
        targets: (n, T) float32; NaN where a label is missing.
        bound: (n, T) bool, where the label is only an upper bound; None where none is.
    """

    graphs: GraphBatch
    targets: Tensor
    bound: Tensor | None = None

    def select(self, rows: Tensor) -> Examples:
        """The examples ``rows`` (k,), in that order."""
        bound = None if self.bound is None else self.bound[rows]
        return Examples(self.graphs.select(rows.numpy()), self.targets[rows], bound)

    @property
    def tensors(self) -> TensorBatch:
        """The graphs as the network reads them."""
        return TensorBatch.of(self.graphs)
