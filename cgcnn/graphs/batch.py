"""Many crystal graphs as flat arrays: what networks read, processes exchange, and the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cgcnn.graphs.graph import NEIGHBOURS, CrystalGraph
from cgcnn.graphs.prototype import Template, templates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype

_OF_NODES = ("numbers", "multiplicity")
_OF_EDGES = ("source", "target", "distance", "edge_multiplicity")


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Graphs one after the other, in a few arrays; a single graph is a batch of one.

    The nodes of a graph are adjacent. Edges are sorted by the node that receives, so that those of a graph, and those
    of a node, are adjacent too.

    Attributes:
        numbers: (N,) uint8, atomic numbers.
        multiplicity: (N,) int32, atoms a node stands for.
        source: (E,) int32, node that sends, counted over the batch.
        target: (E,) int32, node that receives, ascending.
        distance: (E,) float32, Å.
        edge_multiplicity: (E,) int32, neighbours an edge stands for.
        nodes: (n,) int64, number of nodes of each graph.
        edges: (n,) int64, number of edges of each graph.
        role: (N,) int8, role of each node's site, as a position in `Prototype.role_names`; None for crystals.
    """

    numbers: NDArray[np.uint8]
    multiplicity: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    distance: NDArray[np.float32]
    edge_multiplicity: NDArray[np.int32]
    nodes: NDArray[np.int64]
    edges: NDArray[np.int64]
    role: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        """Return the number of graphs."""
        return len(self.nodes)

    @classmethod
    def of_graphs(cls, graphs: Sequence[CrystalGraph]) -> Self:
        """Put graphs one after the other, in their order."""
        nodes = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64)
        edges = np.array([len(graph.source) for graph in graphs], dtype=np.int64)
        flat = {name: _joined([getattr(graph, name) for graph in graphs], _DTYPES[name]) for name in _DTYPES}
        shift = np.repeat((np.cumsum(nodes) - nodes).astype(np.int32), edges)  # (E,)
        flat |= {name: flat[name] + shift for name in ("source", "target")}
        if (np.diff(flat["target"]) < 0).any():
            order = np.argsort(flat["target"], kind="stable")
            flat |= {name: flat[name][order] for name in _OF_EDGES}
        return cls(**flat, nodes=nodes, edges=edges)

    @classmethod
    def of_prototype(
        cls,
        prototype: Prototype,
        species: NDArray[np.uint8],
        a: NDArray[np.floating],
        neighbours: int = NEIGHBOURS,
    ) -> Self:
        """Make the quotient graphs of many candidates without building them one at a time.

        Rows are grouped by which equal-role sites hold equal elements; each group shares a template.

        Args:
            prototype: The prototype of the candidates.
            species: (n, n_sites) atomic numbers.
            a: (n,) lattice constants, Å.
            neighbours: As in `CrystalGraph.from_structure`.

        Returns:
            A batch of n graphs, in the order of the rows.
        """
        groups = templates(prototype, species, neighbours)
        parts = [cls._filled(template, species[rows], a[rows]) for template, rows in groups]
        if len(parts) == 1:
            return parts[0]
        position = np.empty(len(species), dtype=np.int64)  # of each row in the parts together
        position[np.concatenate([rows for _, rows in groups] or [position])] = np.arange(len(species))
        return cls.concatenate(parts).select(position)

    @classmethod
    def _filled(cls, template: Template, species: NDArray[np.uint8], a: NDArray[np.floating]) -> Self:
        """Fill a template with the elements and lattice constants of n candidates."""
        graph, n = template.graph, len(species)
        shift = np.arange(n, dtype=np.int32)[:, None] * len(graph.numbers)
        return cls(
            numbers=species[:, graph.numbers].ravel(),
            multiplicity=np.tile(graph.multiplicity, n),
            source=(graph.source + shift).ravel().astype(np.int32, copy=False),
            target=(graph.target + shift).ravel().astype(np.int32, copy=False),
            distance=(np.asarray(a, dtype=np.float32)[:, None] * graph.distance).ravel(),
            edge_multiplicity=np.tile(graph.edge_multiplicity, n),
            nodes=np.full(n, len(graph.numbers), dtype=np.int64),
            edges=np.full(n, len(graph.source), dtype=np.int64),
            role=np.tile(template.role, n),
        )

    @classmethod
    def concatenate(cls, batches: Sequence[GraphBatch]) -> Self:
        """Join batches one after the other.

        Raises:
            ValueError: Some have roles and some have none.
        """
        names = [f.name for f in fields(cls) if f.name != "role"]
        flat = {name: _joined([getattr(b, name) for b in batches], _DTYPES.get(name, "i8")) for name in names}
        roles = [batch.role for batch in batches if batch.role is not None]
        if len(roles) not in {0, len(batches)}:
            raise ValueError("graphs of prototypes, whose nodes have roles, cannot be joined with others")
        nodes = np.array([len(batch.numbers) for batch in batches], dtype=np.int64)
        edges = np.array([len(batch.source) for batch in batches], dtype=np.int64)
        shift = np.repeat((np.cumsum(nodes) - nodes).astype(np.int32), edges)  # (E,)
        flat |= {name: flat[name] + shift for name in ("source", "target")}
        return cls(**flat, role=_joined(roles, "i1") if roles else None)

    def select(self, rows: NDArray[np.integer]) -> Self:
        """Select the graphs ``rows`` (k,) in that order; a graph may come more than once."""
        nodes, edges = self.nodes[rows], self.edges[rows]
        old = self.node_starts[rows]
        of_nodes, of_edges = _runs(old, nodes), _runs(self.edge_starts[rows], edges)
        shift = np.repeat((np.cumsum(nodes) - nodes - old).astype(np.int32), edges)
        return type(self)(
            numbers=self.numbers[of_nodes],
            multiplicity=self.multiplicity[of_nodes],
            source=self.source[of_edges] + shift,
            target=self.target[of_edges] + shift,
            distance=self.distance[of_edges],
            edge_multiplicity=self.edge_multiplicity[of_edges],
            nodes=nodes,
            edges=edges,
            role=None if self.role is None else self.role[of_nodes],
        )

    def part(self, start: int, stop: int) -> Self:
        """Return the graphs [start, stop) as views, except for the node numbers, which start anew."""
        node, edge = (_ends(counts)[[start, stop]].tolist() for counts in (self.nodes, self.edges))
        flat = {name: getattr(self, name)[slice(*node)] for name in _OF_NODES}
        flat |= {name: getattr(self, name)[slice(*edge)] for name in _OF_EDGES}
        flat |= {name: flat[name] - np.int32(node[0]) for name in ("source", "target")}
        role = None if self.role is None else self.role[slice(*node)]
        return type(self)(**flat, nodes=self.nodes[start:stop], edges=self.edges[start:stop], role=role)

    def runs(self, most_edges: int) -> Iterator[tuple[int, int]]:
        """Yield consecutive graphs [start, stop) with at most so many edges together, or one larger graph."""
        ends, start = _ends(self.edges), 0
        while start < len(self):
            stop = int(np.searchsorted(ends, ends[start] + most_edges, side="right")) - 1
            yield start, max(stop, start + 1)
            start = max(stop, start + 1)

    def split(self) -> list[CrystalGraph]:
        """Return the graphs one by one; the inverse of `of_graphs` up to the order of their edges."""
        shift = np.repeat(self.node_starts.astype(np.int32), self.edges)
        flat = {name: getattr(self, name) for name in _DTYPES}
        flat |= {name: flat[name] - shift for name in ("source", "target")}
        parts = {name: np.split(flat[name], self.node_starts[1:]) for name in _OF_NODES}
        parts |= {name: np.split(flat[name], self.edge_starts[1:]) for name in _OF_EDGES}
        return [CrystalGraph(**{name: part[i] for name, part in parts.items()}) for i in range(len(self))]

    @cached_property
    def graph(self) -> NDArray[np.int64]:
        """(N,) the graph of each node."""
        return np.repeat(np.arange(len(self)), self.nodes)

    @cached_property
    def node_starts(self) -> NDArray[np.int64]:
        """(n,) the first node of each graph."""
        return _ends(self.nodes)[:-1]

    @cached_property
    def edge_starts(self) -> NDArray[np.int64]:
        """(n,) the first edge of each graph."""
        return _ends(self.edges)[:-1]

    def to_bytes(self) -> bytes:
        """Write sizes and arrays, little-endian, to keep or to send; only for crystals, as roles are left out."""
        sizes = np.array([len(self), len(self.numbers), len(self.source)], dtype="<i8")
        counts = [self.nodes.astype("<i8"), self.edges.astype("<i8")]
        return b"".join([a.tobytes() for a in (sizes, *counts, *(self._as_kept(name) for name in _DTYPES))])

    def _as_kept(self, name: str) -> NDArray[np.generic]:
        array: NDArray[np.generic] = getattr(self, name)
        return array.astype(np.dtype(_DTYPES[name]).newbyteorder("<"))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read the batch that `to_bytes` wrote; its arrays are read-only.

        Raises:
            ValueError: The bytes are not those of a batch.
        """
        graphs, nodes, edges = np.frombuffer(content, dtype="<i8", count=3).tolist()
        lengths = {"nodes": graphs, "edges": graphs} | dict.fromkeys(_OF_NODES, nodes) | dict.fromkeys(_OF_EDGES, edges)
        arrays, offset = {}, 24
        for name, length in lengths.items():
            dtype = np.dtype(_DTYPES.get(name, "i8"))
            kept = np.frombuffer(content, dtype=dtype.newbyteorder("<"), count=length, offset=offset)
            arrays[name], offset = kept.astype(dtype, copy=False), offset + kept.nbytes
        if offset != len(content) or any(arrays[name].sum() != lengths[_OF[name]] for name in _OF):
            raise ValueError(f"{len(content)} bytes are not a batch of {graphs} graphs")
        return cls(**arrays)


_DTYPES = {
    "numbers": "u1",
    "multiplicity": "i4",
    "source": "i4",
    "target": "i4",
    "distance": "f4",
    "edge_multiplicity": "i4",
}
_OF = {"nodes": "numbers", "edges": "source"}


def _joined(arrays: Sequence[NDArray[Any]], dtype: str) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype=dtype)


def _ends(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where runs of these lengths start, and where the last one ends, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)])


def _runs(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of runs with these starts and lengths, one run after the other."""
    found: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return found
