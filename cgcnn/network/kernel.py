"""What kernels share: the protocol they follow, and the folded networks that those for CPUs start from.

A kernel is the mathematics of the networks in some arithmetic; `cgcnn.network.choice` says which one predicts. Folding
stacks the members of an ensemble and merges each norm into the product before it. It computes in double precision and
rounds once.

Shapes: M members, W width, K Gaussians, R roles, C columns of a product, H hidden, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from threadpoolctl import ThreadpoolController

from cgcnn.network.settings import EPSILON, ROLES, SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.settings import Settings

    Array = NDArray[np.float32]
    Outputs = Array  # (members, n, T) in the targets' units; a probability where a target is binary
    Weights = Mapping[str, NDArray[Any]]  # float32, by the names of `cgcnn.network.reference.CGCNN`
    Doubles = Mapping[str, NDArray[np.float64]]


class Kernel(Protocol):
    """The networks of an ensemble, ready to predict.

    On one kind of machine, a kernel gives equal batches equal bits. Another kernel, version or batch may change the
    last bits, within `cgcnn.network.settings.CLOSE` of the reference: matrix libraries sum in an order that depends on
    a row's place in the matrix.

    Attributes:
        name: A name such as "numpy".
        version: Raised whenever the bits of a prediction change.
        independent: Whether a candidate gets the same bits whatever else is predicted with it.
    """

    name: str
    version: int
    independent: bool

    def predict(self, batch: GraphBatch) -> Outputs:
        """Predict n graphs with each member."""

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """Predict n candidates of a prototype with each member.

        Args:
            prototype: The prototype that the candidates fill.
            species: (n, n_sites) atomic numbers.
            a: (n,) lattice constants, Å.
        """

    def pooled(self, batch: GraphBatch) -> NDArray[np.float32]:
        """Return the vectors (n, W) of n crystals before the hidden layers of the first member.

        With linear pooling they are means over the atoms.
        """

    def contributions(self, batch: GraphBatch) -> Outputs:
        """Return what an atom of each of the N nodes contributes, (members, N, T); log odds where a target is binary.

        This takes linear pooling, where the mean over the atoms of a crystal is its target.
        """


@dataclass(frozen=True, eq=False)
class Linear:
    """A product and a sum: x @ weight + bias.

    Attributes:
        weight: (M, inputs, outputs) float32.
        bias: (M, outputs) float32.
    """

    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Gated:
    """A gated convolution (`cgcnn.network.reference.GatedConvolution`): softplus(v + scale · Σ m + shift).

    m = sigmoid(gate) · softplus(core), where gate | core = v_i @ receiver + v_j @ sender + u @ distance. These products
    contain the edge norm.

    Attributes:
        receiver: W to 2W.
        sender: (M, W, 2W).
        distance: (M, K, 2W).
        scale: (M, W), of the node norm.
        shift: (M, W), of the node norm.
    """

    receiver: Linear
    sender: Array
    distance: Array
    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Simple:
    """A simple convolution: softplus(v_i @ receiver + (Σ v_j) @ sender + (Σ u) @ distance), norm included.

    Attributes:
        receiver: W to W.
        sender: (M, W, W).
        distance: (M, K, W).
    """

    receiver: Linear
    sender: Array
    distance: Array


@dataclass(frozen=True, eq=False)
class Edges:
    """A convolution that updates edges (`cgcnn.network.reference.EdgeConvolution`); it has no norms.

    Attributes:
        receiver: W to W.
        sender: (M, W, W).
        distance: (M, W, W).
        change: W to W.
        collect: 2W to W, from v | Σ change; the lower half contains `cgcnn.network.settings.SHARE`.
        node_change: W to W.
    """

    receiver: Linear
    sender: Array
    distance: Array
    change: Linear
    collect: Linear
    node_change: Linear


@dataclass(frozen=True, eq=False)
class Folded:
    """The networks of an ensemble.

    Attributes:
        settings: The shape of the networks.
        table: (M, 101, W) float32, the initial vector of each element; NaN without element features.
        centres: (K,) float32, Å, of the Gaussians, which are as wide as their spacing.
        embed_edges: K to W, with silu, before the first edge convolution; None for other convolutions.
        convolutions: The convolutions in order.
        sites: (M, R, 101, S) float32, the vector of each element on each role for the readout of sites; None without
            one.
        hidden: Layers after pooling, each with the settings' activation; empty with linear pooling.
        output: From the last layer to the targets in their units, or log odds.
        binary: (T,) whether a target is yes or no, so that its output becomes a probability.
    """

    settings: Settings
    table: Array
    centres: Array
    embed_edges: Linear | None
    convolutions: tuple[Gated, ...] | tuple[Simple, ...] | tuple[Edges, ...]
    sites: Array | None
    hidden: tuple[Linear, ...]
    output: Linear
    binary: NDArray[np.bool_]


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Use one thread for matrix products: they are too small for more, and bits must not depend on the cores."""
    limit: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limit


def fold(settings: Settings, members: Sequence[Weights]) -> Folded:
    """Fold the networks of an ensemble.

    Args:
        settings: The shape of the networks.
        members: The tensors of each network.

    Raises:
        ValueError: The members' Gaussians differ.
    """
    doubles = _doubles(members)
    centres = np.asarray(members[0]["centres"], dtype=np.float32)
    if any((member["centres"] != centres).any() for member in members):
        raise ValueError("members with different Gaussians make no ensemble")
    convolution = _CONVOLUTIONS[settings.convolution]
    layers = 0 if settings.pooling == "linear" else settings.hidden_layers
    return Folded(
        settings=settings,
        table=element_table(members),
        centres=centres,
        embed_edges=_linear(doubles, "embed_edges.0") if settings.convolution == "edges" else None,
        convolutions=tuple(convolution(_part(doubles, f"convolutions.{i}.")) for i in range(settings.layers)),
        sites=_site_tables(doubles) if settings.sites else None,
        hidden=tuple(_linear(doubles, f"hidden.{i}") for i in range(layers)),
        output=_output(doubles),
        binary=np.array([name in settings.binary for name in settings.targets]),
    )


def element_table(members: Sequence[Weights]) -> Array:
    """Return the initial vector (M, 101, W) of each element: its embedded features plus its learned vector."""
    with one_thread():
        features = [m["element_features"] @ m["embed.weight"].T + m["embed.bias"] for m in _doubles(members)]
        return _stack([embedded + member["learned"] for embedded, member in zip(features, members, strict=True)])


def role_table(settings: Settings, members: Sequence[Weights]) -> Array:
    """Return the initial vector (M, R, 101, V) of each element on each role: the readout of sites has its own."""
    if settings.sites:
        return _site_tables(_doubles(members))
    table = element_table(members)  # (M, 101, W)
    return np.broadcast_to(table[:, None], (len(table), ROLES, *table.shape[1:]))


def _site_tables(members: Sequence[Doubles]) -> Array:
    with one_thread():
        tables = [member["element_features"] @ member["sites.embed.weight"].T for member in members]
    parts = zip(members, tables, strict=True)
    by_role = [(t + m["sites.embed.bias"]).reshape(len(t), ROLES, -1).transpose(1, 0, 2) for m, t in parts]
    return _stack([table + m["sites.learned"] for m, table in zip(members, by_role, strict=True)])


def covered(member: Weights) -> NDArray[np.bool_]:
    """Return which elements a network has features for, (101,)."""
    return np.asarray(~np.isnan(member["element_features"]).any(axis=1))


def _doubles(members: Sequence[Weights]) -> list[Doubles]:
    return [{name: np.asarray(array, dtype=np.float64) for name, array in member.items()} for member in members]


def _part(members: Sequence[Doubles], prefix: str) -> list[Doubles]:
    return [{k.removeprefix(prefix): v for k, v in member.items() if k.startswith(prefix)} for member in members]


def _stack(arrays: Sequence[NDArray[np.float64]]) -> Array:
    return np.ascontiguousarray(np.stack(arrays), dtype=np.float32)


def _norm(layer: Doubles, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factor and shift (C,) that a norm amounts to in evaluation."""
    factor = layer[f"{name}.scale"] / np.sqrt(layer[f"{name}.variance"] + EPSILON)
    return factor, layer[f"{name}.shift"] - layer[f"{name}.mean"] * factor


def _linear(members: Sequence[Doubles], name: str) -> Linear:
    return Linear(_stack([m[f"{name}.weight"].T for m in members]), _stack([m[f"{name}.bias"] for m in members]))


def _normed(layers: Sequence[Doubles], norm: str) -> tuple[Linear, Array, Array]:
    """Return receiver, sender and distance, with the norm of their sum merged in."""
    norms = [_norm(layer, norm) for layer in layers]
    biases = [layer["receiver.bias"] * factor + shift for layer, (factor, shift) in zip(layers, norms, strict=True)]
    weights = [
        _stack([layer[f"{name}.weight"].T * factor for layer, (factor, _) in zip(layers, norms, strict=True)])
        for name in ("receiver", "sender", "distance")
    ]
    return Linear(weights[0], _stack(biases)), weights[1], weights[2]


def _gated(layers: list[Doubles]) -> Gated:
    norms = [_norm(layer, "node_norm") for layer in layers]
    return Gated(*_normed(layers, "edge_norm"), _stack([f for f, _ in norms]), _stack([s for _, s in norms]))


def _simple(layers: list[Doubles]) -> Simple:
    return Simple(*_normed(layers, "node_norm"))


def _edges(layers: list[Doubles]) -> Edges:
    collect = _linear(layers, "collect")
    collect.weight[:, collect.weight.shape[2] :] *= np.float32(SHARE)
    sender, distance = (_stack([layer[f"{name}.weight"].T for layer in layers]) for name in ("sender", "distance"))
    change, node_change = (_linear(layers, name) for name in ("change", "node_change"))
    return Edges(_linear(layers, "receiver"), sender, distance, change, collect, node_change)


_CONVOLUTIONS: dict[str, Callable[[list[Doubles]], Any]] = {"gated": _gated, "simple": _simple, "edges": _edges}


def _output(members: Sequence[Doubles]) -> Linear:
    """Return the last product, from standard deviations of the training set to the targets' units."""
    weights = [m["output.weight"].T * m["target_std"] for m in members]
    biases = [m["output.bias"] * m["target_std"] + m["target_mean"] for m in members]
    return Linear(_stack(weights), _stack(biases))
