"""The networks in numpy alone: the kernel for CPUs, which needs no torch.

Members and convolutions run one after the other over blocks of graphs small enough for the caches. Passes over memory
take most of the time, so functions of arrays work in place.

Shapes, of a block: N nodes, E edges, n graphs, W width, K length of the edge vectors, S length of the vectors of the
readout of sites, C columns of any array, T targets.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cgcnn.graphs.prototype import templates
from cgcnn.network.kernel import one_thread
from cgcnn.network.settings import B

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype, Template
    from cgcnn.network.kernel import Edges, Folded, Gated, Linear, Outputs, Simple

    Array = NDArray[np.float32]


EDGES_AT_ONCE = 2048  # of graphs; their intermediate results stay near the caches
CELLS_AT_ONCE = 96  # candidates; as above
_LIMIT = 80.0  # beyond it softplus(x) is x; exp(x) is still finite here


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) in place."""
    _one_plus_exp(np.negative(x, out=x))
    return np.divide(np.float32(1), x, out=x)


def silu(x: Array) -> Array:
    """Compute the sigmoid linear unit x · sigmoid(x) in place."""
    x /= _one_plus_exp(np.negative(x))
    return x


def softplus(x: Array) -> Array:
    """Compute log(1 + exp(x)) in place."""
    found = np.exp(x if x.max(initial=0) <= _LIMIT else np.minimum(x, np.float32(_LIMIT)))  # NaN compares as false
    found += np.float32(1)
    return np.maximum(np.log(found, out=found), x, out=x)


def message(minus_gate: Array, core: Array) -> Array:
    """Compute sigmoid(gate) · softplus(core) from the negated gate, overwriting both."""
    found = softplus(core)
    found /= _one_plus_exp(minus_gate)
    return found


def _one_plus_exp(x: Array) -> Array:
    """Compute 1 + exp(x) in place; infinite beyond 88, which is right for the quotients that use it."""
    with np.errstate(over="ignore"):
        np.exp(x, out=x)
    x += np.float32(1)
    return x


def gaussians(distance: Array, centres: Array) -> Array:
    """Expand distances (n,), Å, in Gaussians (n, K) as wide as their spacing."""
    offset = distance[:, None] - centres
    offset /= centres[1] - centres[0]
    np.square(offset, out=offset)
    terms: Array = np.exp(np.negative(offset, out=offset), out=offset)
    return terms


class Layout(Protocol):
    """Graphs that are predicted together, in the row order that suits them.

    Attributes:
        numbers: (N,) atomic numbers.
        distances: (E, K) float32, expanded in Gaussians.
    """

    numbers: NDArray[np.uint8]
    distances: Array

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """Add to each edge's row of z (…, E, C) the rows of its receiver and its sender, (…, N, C) each."""

    def senders(self, v: Array) -> Array:
        """Return the sender's row of v (N, C) for each edge, (E, C)."""

    def sum_over_neighbours(self, x: Array) -> Array:
        """Sum the rows of x (E, C) by receiver, weighted by edge multiplicity, (N, C)."""

    def pool(self, v: Array, how: str) -> Array:
        """Take the mean, sum or maximum of v (N, C) over the atoms of each crystal, (n, C)."""

    def site_means(self, table: Array) -> list[Array]:
        """Average over the atoms of each role what a table (R, 101, S) holds for their elements, (n, S) a role.

        Raises:
            ValueError: The graphs are not of prototypes.
        """


class GraphLayout:
    """Any graphs. Nodes are sorted by the number of edges they receive, so that neighbours are summed over an axis."""

    def __init__(self, graphs: GraphBatch, centres: Array) -> None:
        self.graphs = graphs
        degree = np.bincount(graphs.target, minlength=len(graphs.numbers))
        order = np.argsort(degree, kind="stable")
        self.place = np.empty_like(order)  # (N,) new position of each node
        self.place[order] = np.arange(len(order))
        edges = np.argsort(self.place[graphs.target], kind="stable")
        self.numbers = graphs.numbers[order]
        self.source, self.target = self.place[graphs.source[edges]], self.place[graphs.target[edges]]
        self.edge_multiplicity = graphs.edge_multiplicity[edges].astype(np.float32)
        self.distances = gaussians(graphs.distance[edges], centres)
        degrees, first = np.unique(degree[order], return_index=True)
        stops = np.append(first[1:], len(order))
        self._runs = list(zip(degrees.tolist(), first.tolist(), stops.tolist(), strict=True))

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """See `Layout`."""
        z += np.take(receiver, self.target, axis=-2)
        z += np.take(sender, self.source, axis=-2)

    def senders(self, v: Array) -> Array:
        """See `Layout`."""
        return np.take(v, self.source, axis=0)

    def sum_over_neighbours(self, x: Array) -> Array:
        """See `Layout`."""
        total = np.zeros((len(self.numbers), x.shape[1]), dtype=np.float32)
        done = 0
        for degree, start, stop in self._runs:
            shape, end = (stop - start, degree), done + (stop - start) * degree
            if degree:
                rows, weights = x[done:end].reshape(*shape, -1), self.edge_multiplicity[done:end].reshape(shape)
                np.einsum("ndc,nd->nc", rows, weights, out=total[start:stop])
            done = end
        return total

    def pool(self, v: Array, how: str) -> Array:
        """See `Layout`."""
        graphs, rows = self.graphs, v[self.place]
        if how == "max":
            return np.asarray(np.maximum.reduceat(rows, graphs.node_starts, axis=0))
        atoms = graphs.multiplicity.astype(np.float32)
        pooled: Array = np.add.reduceat(rows * atoms[:, None], graphs.node_starts, axis=0)
        if how != "sum":
            pooled /= np.add.reduceat(atoms, graphs.node_starts)[:, None]
        return pooled

    def site_means(self, table: Array) -> list[Array]:
        """See `Layout`."""
        graphs = self.graphs
        if graphs.role is None:
            raise ValueError("a readout of sites needs graphs of prototypes, whose nodes have roles")
        means = []
        for role, rows in enumerate(table):
            atoms: Array = np.where(graphs.role == role, graphs.multiplicity, 0).astype(np.float32)
            total = np.add.reduceat(rows[graphs.numbers] * atoms[:, None], graphs.node_starts, axis=0)
            means.append(np.asarray(total / np.add.reduceat(atoms, graphs.node_starts)[:, None], dtype=np.float32))
        return means


class CellLayout:
    """Candidates of one template. Rows are sorted by node (or edge), then by candidate.

    Nothing needs an index: the ends of an edge are whole runs of rows.
    """

    def __init__(self, template: Template, species: NDArray[np.uint8], a: NDArray[np.float32], centres: Array) -> None:
        graph = template.graph
        self.count = len(species)
        self.numbers = species[:, graph.numbers].T.ravel()
        distance = np.multiply.outer(graph.distance, np.asarray(a, dtype=np.float32))  # (edges, n)
        self.distances = gaussians(distance.ravel(), centres)
        self.source, self.nodes = graph.source.tolist(), len(graph.numbers)
        self.edge_multiplicity = graph.edge_multiplicity.astype(np.float32)
        self.atoms, self.role = graph.multiplicity.astype(np.float32), template.role
        ends = np.searchsorted(graph.target, np.arange(self.nodes + 1)).tolist()
        self._incoming = [slice(start, stop) for start, stop in pairwise(ends)]

    def add_ends(self, z: Array, receiver: Array, sender: Array) -> None:
        """See `Layout`."""
        edges, receives, sends = (self._by_row(x) for x in (z, receiver, sender))
        for node, incoming in enumerate(self._incoming):
            edges[..., incoming, :] += receives[..., node : node + 1, :]
        for edge, node in enumerate(self.source):
            edges[..., edge, :] += sends[..., node, :]

    def senders(self, v: Array) -> Array:
        """See `Layout`."""
        return np.asarray(self._by_row(v)[self.source].reshape(-1, v.shape[1]))

    def sum_over_neighbours(self, x: Array) -> Array:
        """See `Layout`."""
        total = np.empty((self.nodes, self.count * x.shape[1]), dtype=np.float32)
        rows = self._by_row(x)  # (edges, n * C)
        for node, incoming in enumerate(self._incoming):
            np.einsum("dc,d->c", rows[incoming], self.edge_multiplicity[incoming], out=total[node])
        return total.reshape(-1, x.shape[1])

    def pool(self, v: Array, how: str) -> Array:
        """See `Layout`."""
        rows = self._by_row(v)  # (nodes, n * C)
        if how == "max":
            return np.asarray(rows.max(axis=0).reshape(self.count, -1))
        weights = self.atoms if how == "sum" else self.atoms / self.atoms.sum()
        pooled: Array = np.einsum("nc,n->c", rows, weights)
        return pooled.reshape(self.count, -1)

    def site_means(self, table: Array) -> list[Array]:
        """See `Layout`."""
        numbers = self.numbers.reshape(self.nodes, -1)  # (nodes, n)
        means = []
        for role, rows in enumerate(table):
            atoms = self.atoms * (self.role == role)
            nodes = np.flatnonzero(atoms)
            means.append(np.einsum("knc,k->nc", rows[numbers[nodes]], atoms[nodes] / atoms.sum()))
        return means

    def _by_row(self, x: Array) -> Array:
        """View (…, k * n, C) as (…, k, n * C): one row holds a node or edge of all candidates."""
        return x.reshape(*x.shape[:-2], -1, self.count * x.shape[-1])


class NumpyKernel:
    """The folded networks in numpy; see `cgcnn.network.kernel.Kernel`."""

    name = "numpy"
    version = 1
    independent = False

    def __init__(self, folded: Folded) -> None:
        self.folded = folded
        with one_thread():
            self._members = [_Member(folded, i) for i in range(len(folded.table))]

    def predict(self, batch: GraphBatch) -> Outputs:
        """Predict the targets (members, n, T) of n graphs."""
        outputs = self._empty(len(batch))
        with one_thread():
            for start, stop in batch.runs(EDGES_AT_ONCE):
                layout = GraphLayout(batch.part(start, stop), self.folded.centres)
                for i, member in enumerate(self._members):
                    outputs[i, start:stop] = member.targets(layout)
        return outputs

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """Predict the targets (members, n, T) of n candidates."""
        outputs = self._empty(len(species))
        with one_thread():
            for template, rows in self._parts(prototype, species):
                layout = CellLayout(template, species[rows], a[rows], self.folded.centres)
                for i, member in enumerate(self._members):
                    outputs[i, rows] = member.targets(layout)
        return outputs

    def _parts(self, prototype: Prototype, species: NDArray[np.uint8]) -> Iterator[tuple[Template, NDArray[np.int64]]]:
        """Yield templates, each with some of the candidates it serves."""
        for template, rows in templates(prototype, species, self.folded.settings.neighbours):
            for start in range(0, len(rows), CELLS_AT_ONCE):
                yield template, rows[start : start + CELLS_AT_ONCE]

    def pooled(self, batch: GraphBatch) -> Array:
        """Return the vectors (n, W) of n crystals in the first member."""
        parts, first = [], self._members[0]
        with one_thread():
            for run in batch.runs(EDGES_AT_ONCE):
                layout = GraphLayout(batch.part(*run), self.folded.centres)
                parts.append(first.pooled(layout))
        return np.concatenate([np.empty((0, self.folded.settings.width), dtype=np.float32), *parts])

    def contributions(self, batch: GraphBatch) -> Outputs:
        """Return the contributions (members, N, T) of N nodes."""
        parts = []
        with one_thread():
            for run in batch.runs(EDGES_AT_ONCE):
                layout = GraphLayout(batch.part(*run), self.folded.centres)
                parts.append(np.stack([member.output(member.nodes(layout))[layout.place] for member in self._members]))
        return np.concatenate([self._empty(0), *parts], axis=1)

    def _empty(self, count: int) -> Outputs:
        return np.empty((len(self._members), count, len(self.folded.binary)), dtype=np.float32)


class _Member:
    """One network of an ensemble."""

    def __init__(self, folded: Folded, i: int) -> None:
        self.pooling, self.binary = folded.settings.pooling, folded.binary
        self.table = folded.table[i]
        self.embed_edges = None if folded.embed_edges is None else _Product(folded.embed_edges, i)
        kind, tables = _CONVOLUTIONS[folded.settings.convolution], [self.table, *[None] * len(folded.convolutions)]
        self.convolutions: list[Callable[[Array, Array, Layout], tuple[Array, Array]]]
        self.convolutions = [kind(layer, i, table) for layer, table in zip(folded.convolutions, tables, strict=False)]
        self.sites = None if folded.sites is None else folded.sites[i]
        self.squares = None if self.sites is None or not folded.settings.site_spread else np.square(self.sites)
        self.activation, self.mixed = _ACTIVATIONS[folded.settings.activation], folded.settings.mixed
        self.hidden = [_Product(layer, i) for layer in folded.hidden]
        self.output = _Product(folded.output, i)

    def targets(self, layout: Layout) -> Array:
        """Predict the targets (n, T) in their units; probabilities where they are binary."""
        v = self.nodes(layout)
        if self.pooling == "linear":
            values = layout.pool(self.output(v), "mean")
        else:
            x = softplus(layout.pool(v, self.pooling))
            if self.sites is not None:
                squares = None if self.squares is None else layout.site_means(self.squares)[B]
                x = np.concatenate([x, *_joined(layout.site_means(self.sites), squares)], axis=1)
            for layer in self.hidden:
                x = self.activation(layer(x))
            values = self.output(x)
        if self.binary.any():
            values[:, self.binary] = sigmoid(values[:, self.binary])
        return mix(values, self.mixed)

    def pooled(self, layout: Layout) -> Array:
        """Return the vector (n, W) of each crystal; with linear pooling the mean over its atoms."""
        return layout.pool(self.nodes(layout), "mean" if self.pooling == "linear" else self.pooling)

    def nodes(self, layout: Layout) -> Array:
        """Return the node vectors (N, W) after the last convolution, in the order of the layout."""
        v, e = np.take(self.table, layout.numbers, axis=0), layout.distances
        if self.embed_edges is not None:
            e = silu(self.embed_edges(e))
        for convolution in self.convolutions:
            v, e = convolution(v, e, layout)
        return v


def mix(values: Array, mixed: tuple[int, int, int, int] | None) -> Array:
    """Fill in the mixed target of values (n, T), if the settings have one."""
    if mixed is not None:
        whole, yes, no, chance = mixed
        values[:, whole] = values[:, no] + values[:, chance] * (values[:, yes] - values[:, no])
    return values


def _joined(u: list[Array], squares: Array | None) -> list[Array]:
    """Return the vectors (n, S) of the readout of sites, see `cgcnn.network.reference.SiteReadout.joined`."""
    parts = [*u, *(a * b for a, b in combinations(u, 2)), u[0] * u[1] * u[2]]
    if squares is None:
        return parts
    spread = squares - np.square(u[B])
    return [*parts, spread, spread * u[2], spread * u[0]]


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"softplus": softplus, "silu": silu}


class _Product:
    """The product x @ weight + bias of one member."""

    def __init__(self, linear: Linear, i: int) -> None:
        self.weight, self.bias = linear.weight[i], linear.bias[i]

    def __call__(self, x: Array) -> Array:
        found: Array = x @ self.weight
        found += self.bias
        return found


class _Ends:
    """What edges receive from both ends: products of node vectors, or in the first convolution of element vectors."""

    def __init__(self, receiver: Array, bias: Array, sender: Array, table: Array | None) -> None:
        self.receiver, self.bias, self.sender = receiver, bias, sender
        self.tables: tuple[Array, Array] | None = None
        if table is not None:
            self.tables = self._products(table)

    def __call__(self, v: Array, numbers: NDArray[np.uint8]) -> tuple[Array, Array]:
        """Return the receivers' and the senders' rows (…, N, C), from v (N, W) and the atomic numbers (N,)."""
        if self.tables is None:
            return self._products(v)
        return np.take(self.tables[0], numbers, axis=-2), np.take(self.tables[1], numbers, axis=-2)

    def _products(self, v: Array) -> tuple[Array, Array]:
        receiver: Array = v @ self.receiver
        receiver += self.bias
        return receiver, v @ self.sender


class _Gated:
    """See `cgcnn.network.kernel.Gated`; the first axis of products holds the negated gate, then the core."""

    def __init__(self, layer: Gated, i: int, table: Array | None) -> None:
        weights = (layer.receiver.weight[i], layer.receiver.bias[i][None], layer.sender[i])
        receiver, bias, sender = map(_gate_and_core, weights)
        self.ends = _Ends(receiver, bias, sender, table)
        self.distance = _gate_and_core(layer.distance[i])  # (2, K, W)
        self.scale, self.shift = layer.scale[i], layer.shift[i]

    def __call__(self, v: Array, u: Array, layout: Layout) -> tuple[Array, Array]:
        """Return new node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        z = u @ self.distance  # (2, E, W)
        layout.add_ends(z, *self.ends(v, layout.numbers))
        total = layout.sum_over_neighbours(message(z[0], z[1]))  # (N, W)
        total *= self.scale
        total += self.shift
        total += v
        return softplus(total), u


class _Simple:
    """See `cgcnn.network.kernel.Simple`."""

    def __init__(self, layer: Simple, i: int, _table: Array | None) -> None:
        self.receiver, self.sender, self.distance = _Product(layer.receiver, i), layer.sender[i], layer.distance[i]

    def __call__(self, v: Array, u: Array, layout: Layout) -> tuple[Array, Array]:
        """Return new node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        z = self.receiver(v)
        z += layout.sum_over_neighbours(layout.senders(v)) @ self.sender
        z += layout.sum_over_neighbours(u) @ self.distance
        return softplus(z), u


class _Edges:
    """See `cgcnn.network.kernel.Edges`."""

    def __init__(self, layer: Edges, i: int, table: Array | None) -> None:
        self.ends = _Ends(layer.receiver.weight[i], layer.receiver.bias[i], layer.sender[i], table)
        self.distance = layer.distance[i]
        self.change, self.collect = _Product(layer.change, i), _Product(layer.collect, i)
        self.node_change = _Product(layer.node_change, i)

    def __call__(self, v: Array, e: Array, layout: Layout) -> tuple[Array, Array]:
        """Return new node vectors (N, W) and edge vectors (E, W) from v (N, W) and e (E, W)."""
        z = e @ self.distance  # (E, W)
        layout.add_ends(z, *self.ends(v, layout.numbers))
        change = silu(self.change(silu(z)))  # (E, W)
        both = np.concatenate([v, layout.sum_over_neighbours(change)], axis=1)  # (N, 2W)
        return v + self.node_change(silu(self.collect(both))), e + change


_CONVOLUTIONS = {"gated": _Gated, "simple": _Simple, "edges": _Edges}


def _gate_and_core(weight: Array) -> Array:
    """Split (inputs, 2W) into (2, inputs, W): the negated left half, and the right half."""
    gate, core = np.split(weight, 2, axis=1)
    return np.stack([-gate, core])
