"""Graphs that the kernel in numpy predicts together: what a network asks of them, for any graphs and for prototypes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cgcnn.network.arrays import gaussians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.template import Template
    from cgcnn.network.arrays import Array


class Block(Protocol):
    """Some graphs.

    Attributes:
        numbers: (N,) atomic numbers.
        distances: (E, K) float32, expanded.
    """

    numbers: NDArray[np.uint8]
    distances: Array

    def __len__(self) -> int:
        """How many graphs."""

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """Add to rows of edges z (…, E, C) those of the nodes that receive and send, (…, N, C) each."""

    def senders(self, v: Array) -> Array:
        """(E, C) the rows of v (N, C) of the nodes that send."""

    def sum_over_neighbours(self, x: Array) -> Array:
        """(N, C) weighted sums of the rows of x (E, C) by the node that receives."""

    def pool(self, v: Array, how: str) -> Array:
        """(n, C) mean, sum or maximum over the atoms of each crystal, from (N, C)."""

    def site_means(self, table: Array) -> list[Array]:
        """For each role (n, S), the mean over its atoms of the rows that a table (R, 101, S) has for their elements.

        Raises:
            ValueError: The graphs are not of prototypes.
        """


class GraphBlock:
    """Any graphs; nodes go in the order of how many edges they receive, so that neighbours are summed over an axis."""

    def __init__(self, graphs: GraphBatch, centres: Array) -> None:
        self.graphs = graphs
        degree = np.bincount(graphs.target, minlength=len(graphs.numbers))
        order = np.argsort(degree, kind="stable")
        self.place = np.empty_like(order)  # (nodes,) where each went
        self.place[order] = np.arange(len(order))
        edges = np.argsort(self.place[graphs.target], kind="stable")
        self.numbers = graphs.numbers[order]
        self.source, self.target = self.place[graphs.source[edges]], self.place[graphs.target[edges]]
        self.often = graphs.edge_multiplicity[edges].astype(np.float32)
        self.distances = gaussians(graphs.distance[edges], centres)
        degrees, first = np.unique(degree[order], return_index=True)
        stops = np.append(first[1:], len(order))
        self._runs = list(zip(degrees.tolist(), first.tolist(), stops.tolist(), strict=True))

    def __len__(self) -> int:
        """How many graphs."""
        return len(self.graphs)

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """See `Block`."""
        z += np.take(receiver, self.target, axis=-2)
        z += np.take(sender, self.source, axis=-2)

    def senders(self, v: Array) -> Array:
        """See `Block`."""
        return np.take(v, self.source, axis=0)

    def sum_over_neighbours(self, x: Array) -> Array:
        """See `Block`."""
        total = np.zeros((len(self.numbers), x.shape[1]), dtype=np.float32)
        done = 0
        for degree, start, stop in self._runs:
            shape, end = (stop - start, degree), done + (stop - start) * degree
            if degree:
                rows, often = x[done:end].reshape(*shape, -1), self.often[done:end].reshape(shape)
                np.einsum("ndc,nd->nc", rows, often, out=total[start:stop])
            done = end
        return total

    def pool(self, v: Array, how: str) -> Array:
        """See `Block`."""
        graphs, rows = self.graphs, v[self.place]
        if how == "max":
            return np.asarray(np.maximum.reduceat(rows, graphs.node_starts, axis=0))
        atoms = graphs.multiplicity.astype(np.float32)
        pooled: Array = np.add.reduceat(rows * atoms[:, None], graphs.node_starts, axis=0)
        if how != "sum":
            pooled /= np.add.reduceat(atoms, graphs.node_starts)[:, None]
        return pooled

    def site_means(self, table: Array) -> list[Array]:
        """See `Block`."""
        graphs = self.graphs
        if graphs.role is None:
            raise ValueError("a readout of sites needs graphs of prototypes, whose nodes have roles")
        means = []
        for role, rows in enumerate(table):
            atoms: Array = np.where(graphs.role == role, graphs.multiplicity, 0).astype(np.float32)
            total = np.add.reduceat(rows[graphs.numbers] * atoms[:, None], graphs.node_starts, axis=0)
            means.append(np.asarray(total / np.add.reduceat(atoms, graphs.node_starts)[:, None], dtype=np.float32))
        return means


class CellBlock:
    """Candidates of one template: rows go node by node, or edge by edge, and then candidate by candidate.

    So nothing needs an index: what an edge receives and sends are the rows of a node as a whole.
    """

    def __init__(self, template: Template, species: NDArray[np.uint8], a: NDArray[np.float32], centres: Array) -> None:
        graph = template.graph
        self.count = len(species)
        self.numbers = species[:, graph.numbers].T.ravel()
        distance = np.multiply.outer(graph.distance, np.asarray(a, dtype=np.float32))  # (edges, n)
        self.distances = gaussians(distance.ravel(), centres)
        self.source, self.nodes = graph.source.tolist(), len(graph.numbers)
        self.often = graph.edge_multiplicity.astype(np.float32)
        self.atoms, self.role = graph.multiplicity.astype(np.float32), template.role
        ends = np.searchsorted(graph.target, np.arange(self.nodes + 1)).tolist()
        self._incoming = [slice(start, stop) for start, stop in pairwise(ends)]

    def __len__(self) -> int:
        """How many candidates."""
        return self.count

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """See `Block`."""
        edges, receives, sends = (self._by_row(x) for x in (z, receiver, sender))
        for node, incoming in enumerate(self._incoming):
            edges[..., incoming, :] += receives[..., node : node + 1, :]
        for edge, node in enumerate(self.source):
            edges[..., edge, :] += sends[..., node, :]

    def senders(self, v: Array) -> Array:
        """See `Block`."""
        return np.asarray(self._by_row(v)[self.source].reshape(-1, v.shape[1]))

    def sum_over_neighbours(self, x: Array) -> Array:
        """See `Block`."""
        total = np.empty((self.nodes, self.count * x.shape[1]), dtype=np.float32)
        rows = self._by_row(x)  # (edges, n * C)
        for node, incoming in enumerate(self._incoming):
            np.einsum("dc,d->c", rows[incoming], self.often[incoming], out=total[node])
        return total.reshape(-1, x.shape[1])

    def pool(self, v: Array, how: str) -> Array:
        """See `Block`."""
        rows = self._by_row(v)  # (nodes, n * C)
        if how == "max":
            return np.asarray(rows.max(axis=0).reshape(self.count, -1))
        weights = self.atoms if how == "sum" else self.atoms / self.atoms.sum()
        pooled: Array = np.einsum("nc,n->c", rows, weights)
        return pooled.reshape(self.count, -1)

    def site_means(self, table: Array) -> list[Array]:
        """See `Block`."""
        numbers = self.numbers.reshape(self.nodes, -1)  # (nodes, n)
        means = []
        for role, rows in enumerate(table):
            atoms = self.atoms * (self.role == role)
            nodes = np.flatnonzero(atoms)
            means.append(np.einsum("knc,k->nc", rows[numbers[nodes]], atoms[nodes] / atoms.sum()))
        return means

    def _by_row(self, x: Array) -> Array:
        """(…, k, n * C) view of (…, k * n, C): all that the candidates have of one node or edge in one row."""
        return x.reshape(*x.shape[:-2], -1, self.count * x.shape[-1])
