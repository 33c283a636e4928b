"""Models of structures in numpy alone: a command that predicts need not wait for the import of torch.

The same network as `cgcnn.network.reference`, in evaluation mode, with every norm folded into the products before it.
Outputs are equal within `CLOSE` of the targets' deviation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from cgcnn.errors import UserError
from cgcnn.models.calibration import calibrated
from cgcnn.models.card import Card, read_card, weights_path
from cgcnn.models.digest import digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.network.settings import Settings

    Array = NDArray[np.float32]
    Arrays = dict[str, Array]

AT_ONCE = 64  # graphs, whose intermediate results stay near the caches
CLOSE = 1e-4  # in deviations of the training targets
EPSILON = np.float32(1e-5)  # of the norms
SHARE = np.float32(12**-0.5)  # of the messages of edges


class FastModel:
    """A trained model of structures, as far as predicting needs it.

    Attributes:
        card: What it predicts, from what, how well.
        members: Tensors of each network by their names.
    """

    def __init__(self, card: Card, members: list[Arrays]) -> None:
        self.card = card
        self.members = [_Network(card.settings, member) for member in members]

    @property
    def settings(self) -> Settings:
        """Shape of the networks and of the graphs."""
        return self.card.settings

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(101,) whether the model has features of the element."""
        return self.members[0].covered

    def predict_graphs(self, graphs: Sequence[CrystalGraph]) -> dict[str, tuple[Array, Array]]:
        """Mean over the members and standard deviation, as `cgcnn.models.model.Model.predict`."""
        batches = [_Batch(graphs[i : i + AT_ONCE]) for i in range(0, len(graphs), AT_ONCE)]
        outputs = np.stack([np.concatenate([member(b) for b in batches]) for member in self.members])  # (members, n, T)
        mean, std = outputs.mean(axis=0), outputs.std(axis=0)  # (n, T)
        for calibration in self.card.calibrations:
            column = self.settings.targets.index(calibration.target)
            std[:, column] = calibrated(std[:, column], calibration.scale, calibration.floor)
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self.settings.targets)}


def load_fast(name_or_path: str | Path) -> FastModel:
    """Read a model of structures; see `cgcnn.models.model.load`.

    Raises:
        UserError: As `cgcnn.models.model.load` does.
    """
    path = weights_path(name_or_path)
    card = read_card(path)
    try:
        arrays: Arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a model file ({error}); pass a file written by 'cgcnn train'") from None
    if digest(card, arrays) != card.digest:
        raise UserError(f"{path}: the weights are not those of the card {path.stem}.json; copy both files again")
    prefixes = [f"members.{i}." for i in range(card.members)]
    return FastModel(card, [{k.removeprefix(p): v for k, v in arrays.items() if k.startswith(p)} for p in prefixes])


class _Batch:
    """Graphs side by side, edges sorted by the node that receives."""

    def __init__(self, graphs: Sequence[CrystalGraph]) -> None:
        nodes = np.array([len(graph.numbers) for graph in graphs])
        edges = np.array([len(graph.source) for graph in graphs])
        shift = np.repeat(np.cumsum(nodes) - nodes, edges)  # (E,)
        target = np.concatenate([graph.target for graph in graphs]) + shift
        order = np.argsort(target, kind="stable")
        self.target = target[order]
        self.source = (np.concatenate([graph.source for graph in graphs]) + shift)[order]
        self.distance = np.concatenate([graph.distance for graph in graphs])[order]
        self.often = np.concatenate([graph.edge_multiplicity for graph in graphs])[order].astype(np.float32)[:, None]
        self.numbers = np.concatenate([graph.numbers for graph in graphs])
        self.atoms = np.concatenate([graph.multiplicity for graph in graphs]).astype(np.float32)[:, None]  # (N, 1)
        self.graph_starts = np.cumsum(nodes) - nodes  # (n,)

    def sum_over_neighbours(self, x: Array) -> Array:
        """(N, C) sums of the rows of x (E, C) by the node that receives; every node receives from some."""
        starts = np.flatnonzero(np.diff(self.target, prepend=-1))
        return np.add.reduceat(x, starts, axis=0)


class _Network:
    """One member; called with a batch, it gives its targets (n, T)."""

    def __init__(self, settings: Settings, tensors: Arrays) -> None:
        self.settings, self.tensors = settings, tensors
        self.covered = np.asarray(~np.isnan(tensors["element_features"]).any(axis=1))  # (101,)
        features = np.nan_to_num(tensors["element_features"])
        self.table = _linear(features, tensors, "embed") + tensors["learned"]  # (101, W)

    def __call__(self, batch: _Batch) -> Array:
        v = self.table[batch.numbers]  # (N, W)
        centres = self.tensors["centres"]
        e = np.exp(-np.square((batch.distance[:, None] - centres) / (centres[1] - centres[0])))  # (E, K)
        if self.settings.convolution == "edges":
            e = _silu(_linear(e, self.tensors, "embed_edges.0"))  # (E, W)
        convolve = _CONVOLVE[self.settings.convolution]
        for i in range(self.settings.layers):
            v, e = convolve(v, e, batch, _part(self.tensors, f"convolutions.{i}."))
        values = self._output(v, batch) * self.tensors["target_std"] + self.tensors["target_mean"]  # (n, T)
        binary = np.array([name in self.settings.binary for name in self.settings.targets])
        return np.asarray(np.where(binary, _sigmoid(values), values))

    def _output(self, v: Array, batch: _Batch) -> Array:
        pooling = self.settings.pooling
        if pooling == "linear":
            return _pool(_linear(v, self.tensors, "output"), batch, "mean")
        x = _softplus(_pool(v, batch, pooling))  # (n, W)
        for i in range(self.settings.hidden_layers):
            x = _softplus(_linear(x, self.tensors, f"hidden.{i}"))  # (n, H)
        return _linear(x, self.tensors, "output")


def _part(tensors: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _linear(x: Array, tensors: Arrays, name: str) -> Array:
    product: Array = x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
    return product


def _folded(tensors: Arrays, norm: str) -> tuple[Array, Array]:
    """Factor and shift (C,) that a norm is in evaluation."""
    factor = tensors[f"{norm}.scale"] / np.sqrt(tensors[f"{norm}.variance"] + EPSILON)
    return factor, tensors[f"{norm}.shift"] - tensors[f"{norm}.mean"] * factor


def _gated(v: Array, u: Array, batch: _Batch, layer: Arrays) -> tuple[Array, Array]:
    """See `cgcnn.network.convolution.GatedConvolution`."""
    factor, shift = _folded(layer, "edge_norm")
    z = u @ (layer["distance.weight"].T * factor)  # (E, 2W)
    z += (_linear(v, layer, "receiver") * factor + shift)[batch.target]
    z += (v @ (layer["sender.weight"].T * factor))[batch.source]
    gate, core = np.split(z, 2, axis=1)  # (E, W) each
    message = _sigmoid(gate) * _softplus(core) * batch.often
    factor, shift = _folded(layer, "node_norm")
    return _softplus(v + batch.sum_over_neighbours(message) * factor + shift), u


def _simple(v: Array, u: Array, batch: _Batch, layer: Arrays) -> tuple[Array, Array]:
    """See `cgcnn.network.convolution.SimpleConvolution`."""
    neighbours = batch.sum_over_neighbours(v[batch.source] * batch.often)  # (N, W)
    distances = batch.sum_over_neighbours(u * batch.often)  # (N, K)
    z = neighbours @ layer["sender.weight"].T + distances @ layer["distance.weight"].T + _linear(v, layer, "receiver")
    factor, shift = _folded(layer, "node_norm")
    return _softplus(z * factor + shift), u


def _edges(v: Array, e: Array, batch: _Batch, layer: Arrays) -> tuple[Array, Array]:
    """See `cgcnn.network.convolution.EdgeConvolution`."""
    z = e @ layer["distance.weight"].T  # (E, W)
    z += _linear(v, layer, "receiver")[batch.target]
    z += (v @ layer["sender.weight"].T)[batch.source]
    change = _silu(_linear(_silu(z), layer, "change"))  # (E, W)
    total = batch.sum_over_neighbours(change * batch.often) * SHARE  # (N, W)
    both = np.concatenate([v, total], axis=1)  # (N, 2W)
    v = v + _linear(_silu(_linear(both, layer, "collect")), layer, "node_change")
    return v, e + change


_CONVOLVE = {"gated": _gated, "simple": _simple, "edges": _edges}


def _pool(v: Array, batch: _Batch, how: str) -> Array:
    """(n, C) mean, sum or maximum over the atoms of each crystal, from (N, C)."""
    if how == "max":
        return np.maximum.reduceat(v, batch.graph_starts, axis=0)
    total: Array = np.add.reduceat(v * batch.atoms, batch.graph_starts, axis=0)
    return total if how == "sum" else np.asarray(total / np.add.reduceat(batch.atoms, batch.graph_starts, axis=0))


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))  # never overflows
    return np.asarray(np.where(x < 0, small, 1) / (1 + small), dtype=np.float32)


def _silu(x: Array) -> Array:
    return np.asarray(x * _sigmoid(x))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x))), dtype=np.float32)
