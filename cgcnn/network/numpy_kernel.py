"""The networks in numpy alone: the kernel for CPUs, which needs no torch.

Members and convolutions go one after the other over blocks of graphs small enough for the caches.

Shapes, of a block: N nodes, E edges, n graphs, W width, K length of the edge vectors, T targets.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.graphs.template import templates
from cgcnn.network.arrays import message, one_thread, sigmoid, silu, softplus
from cgcnn.network.blocks import CellBlock, GraphBlock
from cgcnn.network.settings import B

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.graphs.template import Template
    from cgcnn.network.arrays import Array
    from cgcnn.network.blocks import Block
    from cgcnn.network.folded import Edges, Folded, Gated, Linear, Simple
    from cgcnn.network.kernel import Outputs

EDGES_AT_ONCE = 2048  # of graphs, whose intermediate results stay near the caches
CELLS_AT_ONCE = 96  # candidates, likewise


class NumpyKernel:
    """See `cgcnn.network.kernel.Kernel`."""

    name = "numpy"
    version = 1
    independent = False

    def __init__(self, folded: Folded) -> None:
        self.folded = folded
        with one_thread():
            self._members = [_Member(folded, i) for i in range(len(folded.table))]

    def predict(self, batch: GraphBatch) -> Outputs:
        """(members, n, T) targets of n graphs."""
        outputs = self._empty(len(batch))
        with one_thread():
            for start, stop in batch.runs(EDGES_AT_ONCE):
                block = GraphBlock(batch.part(start, stop), self.folded.centres)
                for i, member in enumerate(self._members):
                    outputs[i, start:stop] = member.targets(block)
        return outputs

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """(members, n, T) targets of n candidates."""
        outputs = self._empty(len(species))
        with one_thread():
            for template, rows in self._parts(prototype, species):
                block = CellBlock(template, species[rows], a[rows], self.folded.centres)
                for i, member in enumerate(self._members):
                    outputs[i, rows] = member.targets(block)
        return outputs

    def _parts(self, prototype: Prototype, species: NDArray[np.uint8]) -> Iterator[tuple[Template, NDArray[np.int64]]]:
        """Templates, each with some of the candidates that it serves."""
        for template, rows in templates(prototype, species, self.folded.settings.neighbours):
            for start in range(0, len(rows), CELLS_AT_ONCE):
                yield template, rows[start : start + CELLS_AT_ONCE]

    def pooled(self, batch: GraphBatch) -> Array:
        """(n, W) vectors of n crystals in the first member."""
        parts, first = [], self._members[0]
        with one_thread():
            for run in batch.runs(EDGES_AT_ONCE):
                block = GraphBlock(batch.part(*run), self.folded.centres)
                parts.append(first.pooled(block))
        return np.concatenate([np.empty((0, self.folded.settings.width), dtype=np.float32), *parts])

    def contributions(self, batch: GraphBatch) -> Outputs:
        """(members, N, T) contributions of N nodes."""
        parts = []
        with one_thread():
            for run in batch.runs(EDGES_AT_ONCE):
                block = GraphBlock(batch.part(*run), self.folded.centres)
                parts.append(np.stack([member.output(member.nodes(block))[block.place] for member in self._members]))
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
        self.convolutions: list[Callable[[Array, Array, Block], tuple[Array, Array]]]
        self.convolutions = [kind(layer, i, table) for layer, table in zip(folded.convolutions, tables, strict=False)]
        self.sites = None if folded.sites is None else folded.sites[i]
        self.squares = None if self.sites is None or not folded.settings.site_spread else np.square(self.sites)
        self.activation, self.mixed = _ACTIVATIONS[folded.settings.activation], folded.settings.mixed
        self.hidden = [_Product(layer, i) for layer in folded.hidden]
        self.output = _Product(folded.output, i)

    def targets(self, block: Block) -> Array:
        """(graphs, T) in their units; probabilities of the binary ones."""
        v = self.nodes(block)
        if self.pooling == "linear":
            values = block.pool(self.output(v), "mean")
        else:
            x = softplus(block.pool(v, self.pooling))
            if self.sites is not None:
                squares = None if self.squares is None else block.site_means(self.squares)[B]
                x = np.concatenate([x, *_joined(block.site_means(self.sites), squares)], axis=1)
            for layer in self.hidden:
                x = self.activation(layer(x))
            values = self.output(x)
        if self.binary.any():
            values[:, self.binary] = sigmoid(values[:, self.binary])
        return mix(values, self.mixed)

    def pooled(self, block: Block) -> Array:
        """(graphs, W) the vector of each crystal; with linear pooling the mean over its atoms."""
        return block.pool(self.nodes(block), "mean" if self.pooling == "linear" else self.pooling)

    def nodes(self, block: Block) -> Array:
        """(N, W) node vectors after the last convolution, in the order of the block."""
        v, e = np.take(self.table, block.numbers, axis=0), block.distances
        if self.embed_edges is not None:
            e = silu(self.embed_edges(e))
        for convolution in self.convolutions:
            v, e = convolution(v, e, block)
        return v


def mix(values: Array, mixed: tuple[int, int, int, int] | None) -> Array:
    """Values (n, T) with the mixed target of the settings, if there is one, in its place."""
    if mixed is not None:
        whole, yes, no, chance = mixed
        values[:, whole] = values[:, no] + values[:, chance] * (values[:, yes] - values[:, no])
    return values


def _joined(u: list[Array], squares: Array | None) -> list[Array]:
    """What the readout of sites says, (n, S) each, see `cgcnn.network.readout.SiteReadout.joined`."""
    parts = [*u, *(a * b for a, b in combinations(u, 2)), u[0] * u[1] * u[2]]
    if squares is None:
        return parts
    spread = squares - np.square(u[B])
    return [*parts, spread, spread * u[2], spread * u[0]]


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {"softplus": softplus, "silu": silu}


class _Product:
    """x @ weight + bias of one member."""

    def __init__(self, linear: Linear, i: int) -> None:
        self.weight, self.bias = linear.weight[i], linear.bias[i]

    def __call__(self, x: Array) -> Array:
        found: Array = x @ self.weight
        found += self.bias
        return found


class _Ends:
    """Products of the vectors of nodes that edges receive from both ends; in the first convolution, of elements."""

    def __init__(self, receiver: Array, bias: Array, sender: Array, table: Array | None) -> None:
        self.receiver, self.bias, self.sender = receiver, bias, sender
        self.tables: tuple[Array, Array] | None = None
        if table is not None:
            self.tables = self._products(table)

    def __call__(self, v: Array, numbers: NDArray[np.uint8]) -> tuple[Array, Array]:
        """(…, N, C) of what receives and of what sends, from v (N, W) of nodes with the atomic numbers (N,)."""
        if self.tables is None:
            return self._products(v)
        return np.take(self.tables[0], numbers, axis=-2), np.take(self.tables[1], numbers, axis=-2)

    def _products(self, v: Array) -> tuple[Array, Array]:
        receiver: Array = v @ self.receiver
        receiver += self.bias
        return receiver, v @ self.sender


class _Gated:
    """See `cgcnn.network.folded.Gated`; the negative of the gate and the core are arrays one after the other."""

    def __init__(self, layer: Gated, i: int, table: Array | None) -> None:
        weights = (layer.receiver.weight[i], layer.receiver.bias[i][None], layer.sender[i])
        receiver, bias, sender = map(_gate_and_core, weights)
        self.ends = _Ends(receiver, bias, sender, table)
        self.distance = _gate_and_core(layer.distance[i])  # (2, K, W)
        self.scale, self.shift = layer.scale[i], layer.shift[i]

    def __call__(self, v: Array, u: Array, block: Block) -> tuple[Array, Array]:
        """New node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        z = u @ self.distance  # (2, E, W)
        block.add_ends(z, *self.ends(v, block.numbers))
        total = block.sum_over_neighbours(message(z[0], z[1]))  # (N, W)
        total *= self.scale
        total += self.shift
        total += v
        return softplus(total), u


class _Simple:
    """See `cgcnn.network.folded.Simple`."""

    def __init__(self, layer: Simple, i: int, _table: Array | None) -> None:
        self.receiver, self.sender, self.distance = _Product(layer.receiver, i), layer.sender[i], layer.distance[i]

    def __call__(self, v: Array, u: Array, block: Block) -> tuple[Array, Array]:
        """New node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        z = self.receiver(v)
        z += block.sum_over_neighbours(block.senders(v)) @ self.sender
        z += block.sum_over_neighbours(u) @ self.distance
        return softplus(z), u


class _Edges:
    """See `cgcnn.network.folded.Edges`."""

    def __init__(self, layer: Edges, i: int, table: Array | None) -> None:
        self.ends = _Ends(layer.receiver.weight[i], layer.receiver.bias[i], layer.sender[i], table)
        self.distance = layer.distance[i]
        self.change, self.collect = _Product(layer.change, i), _Product(layer.collect, i)
        self.node_change = _Product(layer.node_change, i)

    def __call__(self, v: Array, e: Array, block: Block) -> tuple[Array, Array]:
        """New node vectors (N, W) and edge vectors (E, W) from v (N, W) and e (E, W)."""
        z = e @ self.distance  # (E, W)
        block.add_ends(z, *self.ends(v, block.numbers))
        change = silu(self.change(silu(z)))  # (E, W)
        both = np.concatenate([v, block.sum_over_neighbours(change)], axis=1)  # (N, 2W)
        return v + self.node_change(silu(self.collect(both))), e + change


_CONVOLUTIONS = {"gated": _Gated, "simple": _Simple, "edges": _Edges}


def _gate_and_core(weight: Array) -> Array:
    """(2, inputs, W): the negative of the left half of (inputs, 2W), and the right half."""
    gate, core = np.split(weight, 2, axis=1)
    return np.stack([-gate, core])
