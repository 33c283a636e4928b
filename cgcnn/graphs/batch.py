"""Many crystal graphs as flat tensors, the form that the network reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cgcnn.graphs.graph import CrystalGraph


@dataclass(frozen=True)
class GraphBatch:
    """Graphs side by side; one graph is a batch of one.

    Attributes:
        numbers: (N,) int64, atomic numbers.
        multiplicity: (N,) float32, atoms a node stands for.
        source: (E,) int64, node that sends, counted over the batch.
        target: (E,) int64, node that receives.
        distance: (E,) float32, Å.
        edge_multiplicity: (E,) float32, neighbours an edge stands for.
        graph: (N,) int64, the graph of each node; nodes of one graph need not be adjacent.
        n_graphs: How many graphs; results have this length, in this order.
    """

    numbers: Tensor
    multiplicity: Tensor
    source: Tensor
    target: Tensor
    distance: Tensor
    edge_multiplicity: Tensor
    graph: Tensor
    n_graphs: int

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch on another device."""
        return GraphBatch(
            self.numbers.to(device),
            self.multiplicity.to(device),
            self.source.to(device),
            self.target.to(device),
            self.distance.to(device),
            self.edge_multiplicity.to(device),
            self.graph.to(device),
            self.n_graphs,
        )

    def select(self, rows: Tensor) -> GraphBatch:
        """The graphs ``rows`` (n,) int64, in that order, each at most once.

        Args:
            rows: Indices of graphs, without repeats.

        Returns:
            A batch whose nodes and edges keep their order within each graph.
        """
        nodes, counts = self._nodes_by_graph.of(rows)  # (n_nodes,), (n,)
        edges, _ = self._edges_by_graph.of(rows)  # (n_edges,)
        new_node = torch.empty_like(self.graph)  # (N,)
        new_node[nodes] = torch.arange(len(nodes))
        return GraphBatch(
            self.numbers[nodes],
            self.multiplicity[nodes],
            new_node[self.source[edges]],
            new_node[self.target[edges]],
            self.distance[edges],
            self.edge_multiplicity[edges],
            torch.arange(len(rows)).repeat_interleave(counts),
            len(rows),
        )

    @cached_property
    def _nodes_by_graph(self) -> _Runs:
        return _Runs(self.graph, self.n_graphs)

    @cached_property
    def _edges_by_graph(self) -> _Runs:
        return _Runs(self.graph[self.target], self.n_graphs)


class _Runs:
    """Where the members of each group are."""

    def __init__(self, group: Tensor, n_groups: int) -> None:
        """Members (m,) know their groups."""
        self.order = torch.argsort(group, stable=True)  # (m,) members, group by group
        self.counts = torch.bincount(group, minlength=n_groups)  # (n_groups,)
        self.starts = self.counts.cumsum(0) - self.counts  # (n_groups,) in the order

    def of(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """The members of some groups, one group after the other, and how many each has."""
        counts = self.counts[groups]
        offset = self.starts[groups] - (counts.cumsum(0) - counts)
        return self.order[torch.arange(int(counts.sum())) + offset.repeat_interleave(counts)], counts


@dataclass(frozen=True)
class Examples:
    """Graphs with their labels.

    Attributes:
        graphs: N graphs.
        targets: (n, T) float32; NaN where a label is missing.
    """

    graphs: GraphBatch
    targets: Tensor


def from_graphs(graphs: Sequence[CrystalGraph]) -> GraphBatch:
    """Put graphs side by side, in their order."""
    sizes = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64)
    offsets = np.cumsum(sizes) - sizes
    edges = np.array([len(graph.source) for graph in graphs], dtype=np.int64)
    shift = np.repeat(offsets, edges)  # (E,)
    return GraphBatch(
        numbers=_flat([graph.numbers for graph in graphs], np.int64),
        multiplicity=_flat([graph.multiplicity for graph in graphs], np.float32),
        source=_flat([graph.source for graph in graphs], np.int64) + torch.from_numpy(shift),
        target=_flat([graph.target for graph in graphs], np.int64) + torch.from_numpy(shift),
        distance=_flat([graph.distance for graph in graphs], np.float32),
        edge_multiplicity=_flat([graph.edge_multiplicity for graph in graphs], np.float32),
        graph=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        n_graphs=len(graphs),
    )


def _flat(arrays: Sequence[np.ndarray], dtype: type[np.generic]) -> Tensor:
    joined = np.concatenate(arrays) if arrays else np.empty(0)
    return torch.from_numpy(joined.astype(dtype))
