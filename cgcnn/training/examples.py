"""Graphs with their labels, as networks are fitted to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgcnn.network.reference import TensorBatch

if TYPE_CHECKING:
    from torch import Tensor

    from cgcnn.graphs.batch import GraphBatch


@dataclass(frozen=True, eq=False)
class Examples:
    """Graphs with their labels.

    Attributes:
        graphs: n graphs.
        targets: (n, T) float32; NaN where a label is missing.
        below: (n, T) float32, what a prediction below the label costs, as a share of one above it: less than 1 where
            the label is only an upper bound. None where none is.
    """

    graphs: GraphBatch
    targets: Tensor
    below: Tensor | None = None

    def select(self, rows: Tensor) -> Examples:
        """The examples ``rows`` (k,), in that order."""
        below = None if self.below is None else self.below[rows]
        return Examples(self.graphs.select(rows.numpy()), self.targets[rows], below)

    @property
    def tensors(self) -> TensorBatch:
        """The graphs as the network reads them."""
        return TensorBatch.of(self.graphs)
