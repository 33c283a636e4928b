"""Trained networks of an ensemble as kernels take them: members stacked, norms folded into the products before them.

A product of folded arrays is x @ weight + bias. Everything is made in double precision and rounded once.

Shapes: M members, W width, K Gaussians, C columns of a product, H hidden, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.network.arrays import one_thread
from cgcnn.network.settings import EPSILON, ROLES, SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.network.settings import Settings

    Array = NDArray[np.float32]
    Weights = Mapping[str, NDArray[Any]]  # float32
    Doubles = Mapping[str, NDArray[np.float64]]


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
    """Gated convolution (`cgcnn.network.convolution.GatedConvolution`): softplus(v + scale · Σ m + shift).

    m = sigmoid(gate) · softplus(core), where gate | core = v_i @ receiver + v_j @ sender + u @ distance; the norm of
    the edges is in these products.

    Attributes:
        receiver: W to 2W.
        sender: (M, W, 2W).
        distance: (M, K, 2W).
        scale: (M, W), of the norm of the nodes.
        shift: (M, W).
    """

    receiver: Linear
    sender: Array
    distance: Array
    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class Simple:
    """Simple convolution: softplus(v_i @ receiver + (Σ v_j) @ sender + (Σ u) @ distance), the norm in these products.

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
    """Convolution that updates edges, see `cgcnn.network.convolution.EdgeConvolution`; it has no norms.

    Attributes:
        receiver: W to W.
        sender: (M, W, W).
        distance: (M, W, W).
        change: W to W.
        collect: 2W to W, from v | Σ change; `cgcnn.network.settings.SHARE` is in the lower half.
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
        settings: Their shape.
        table: (M, 101, W) float32, what they start from for each element; NaN where they have no features of it.
        centres: (K,) float32, Å, of the Gaussians, which are as wide as their spacing.
        embed_edges: K to W, before the first convolution, with silu; None but for the convolution of edges.
        convolutions: One after the other.
        sites: (M, R, 101, S) float32, the vectors of elements on each role for the readout of sites; None without one.
        hidden: Layers after pooling, each with the settings' activation; none with linear pooling.
        output: To the targets in their units, or log odds.
        binary: (T,) whether a target is yes or no, and its output is to be made a probability.
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


def fold(settings: Settings, members: Sequence[Weights]) -> Folded:
    """Fold networks.

    Args:
        settings: Their shape.
        members: Tensors of each by their names in `cgcnn.network.reference.CGCNN`.

    Raises:
        ValueError: Their Gaussians differ.
    """
    doubles = [{name: np.asarray(array, dtype=np.float64) for name, array in member.items()} for member in members]
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
    """(M, 101, W) what networks start from for each element: its features' product and its learned vector."""
    with one_thread():
        return _stack([_product(member, "embed") + member["learned"] for member in members])


def role_table(settings: Settings, members: Sequence[Weights]) -> Array:
    """(M, R, 101, V) what networks start from for elements on each role: the readout's vectors, if there is one."""
    if settings.sites:
        return _site_tables([{name: np.asarray(a, dtype=np.float64) for name, a in m.items()} for m in members])
    table = element_table(members)  # (M, 101, W)
    return np.broadcast_to(table[:, None], (len(table), ROLES, *table.shape[1:]))


def _site_tables(members: Sequence[Doubles]) -> Array:
    with one_thread():
        tables = [member["element_features"] @ member["sites.embed.weight"].T for member in members]
    parts = zip(members, tables, strict=True)
    by_role = [(t + m["sites.embed.bias"]).reshape(len(t), ROLES, -1).transpose(1, 0, 2) for m, t in parts]
    return _stack([table + m["sites.learned"] for m, table in zip(members, by_role, strict=True)])


def covered(member: Weights) -> NDArray[np.bool_]:
    """(101,) whether a network has features of the element."""
    return np.asarray(~np.isnan(member["element_features"]).any(axis=1))


def _product(member: Weights, name: str) -> NDArray[np.float64]:
    features, weight = (np.asarray(member[key], dtype=np.float64) for key in ("element_features", f"{name}.weight"))
    return np.asarray(features @ weight.T + member[f"{name}.bias"])


def _part(members: Sequence[Doubles], prefix: str) -> list[Doubles]:
    return [{k.removeprefix(prefix): v for k, v in member.items() if k.startswith(prefix)} for member in members]


def _stack(arrays: Sequence[NDArray[np.float64]]) -> Array:
    return np.ascontiguousarray(np.stack(arrays), dtype=np.float32)


def _norm(layer: Doubles, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and shift (C,) that a norm is in evaluation."""
    factor = layer[f"{name}.scale"] / np.sqrt(layer[f"{name}.variance"] + EPSILON)
    return factor, layer[f"{name}.shift"] - layer[f"{name}.mean"] * factor


def _linear(members: Sequence[Doubles], name: str) -> Linear:
    return Linear(_stack([m[f"{name}.weight"].T for m in members]), _stack([m[f"{name}.bias"] for m in members]))


def _normed(layers: Sequence[Doubles], norm: str) -> tuple[Linear, Array, Array]:
    """Receiver, sender and distance with the norm of their sum."""
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
    """The last product, from deviations of the training set to the targets' units."""
    weights = [m["output.weight"].T * m["target_std"] for m in members]
    biases = [m["output.bias"] * m["target_std"] + m["target_mean"] for m in members]
    return Linear(_stack(weights), _stack(biases))
