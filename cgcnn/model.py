"""The crystal graph convolutional network (Xie and Grossman, Phys. Rev. Lett. 2018, 120, 145301).

Every sum over atoms or neighbours is weighted by multiplicities, BatchNorm statistics included, so that a quotient
graph and the full graph give the same output, in training and in evaluation.

Shapes: N nodes, E edges, G graphs, W width, F element features, K Gaussians, H hidden, T targets.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cgcnn.card import Settings

if TYPE_CHECKING:
    from cgcnn.batch import GraphBatch

__all__ = ["CGCNN", "Settings"]


EPSILON = 1e-5  # added to variances


class WeightedNorm(nn.Module):
    """BatchNorm whose statistics count each row as often as its weight says."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Normalise x (M, C) with row weights (M,)."""
        if self.training:
            share = weight / weight.sum()  # (M,)
            result, mean, variance = _Standardise.apply(x, share, self.scale, self.shift)  # type: ignore[no-untyped-call]
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
            return cast("Tensor", result)
        factor = self.scale * torch.rsqrt(self.variance + EPSILON)  # (C,)
        return torch.addcmul(self.shift - self.mean * factor, x, factor)  # (M, C)


class _Standardise(torch.autograd.Function):
    """What a norm does in training, with a gradient of its own: half of the passes over M rows that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401  # torch types it so
        """Normalised x (M, C), and its mean and variance (C,); shares (M,) of the rows add up to 1."""
        mean = share @ x  # (C,)
        y = x - mean  # (M, C)
        variance = share @ y.square()  # (C,)
        inverse = torch.rsqrt(variance + EPSILON)  # (C,)
        y *= inverse
        ctx.save_for_backward(y, share, scale, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(shift, y, scale), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401  # torch types it so
        """Gradients by x, scale and shift."""
        y, share, scale, inverse = ctx.saved_tensors
        by_shift, by_scale = grad.sum(dim=0), (grad * y).sum(dim=0)  # (C,)
        common = torch.addcmul(by_shift, y, by_scale).mul_(share[:, None])  # (M, C) through mean and variance
        return common.neg_().add_(grad).mul_(scale * inverse), None, by_scale, by_shift


class Convolution(nn.Module):
    """Gated convolution, eq. 5: v_i + Σ_j sigmoid(z W_f + b_f) ⊙ g(z W_s + b_s) with z = v_i ⊕ v_j ⊕ u(d).

    z W is computed as v_i W_i + v_j W_j + u W_u: the products with v are then made once a node, not once an edge.
    """

    def __init__(self, width: int, gaussians: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, 2 * width)
        self.sender = nn.Linear(width, 2 * width, bias=False)
        self.distance = nn.Linear(gaussians, 2 * width, bias=False)
        self.edge_norm = WeightedNorm(2 * width)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: GraphBatch) -> Tensor:
        """New node vectors (N, W) from node vectors v (N, W) and expanded distances u (E, K)."""
        per_atom = batch.edge_multiplicity * batch.multiplicity[batch.target]  # (E,) edges of the full graph
        z = self.receiver(v).index_select(0, batch.target) + self.sender(v).index_select(0, batch.source)
        z = z + self.distance(u)  # (E, 2W)
        gate, core = self.edge_norm(z, per_atom).chunk(2, dim=1)  # (E, W) each
        message = torch.sigmoid(gate) * functional.softplus(core) * batch.edge_multiplicity[:, None]  # (E, W)
        total = torch.zeros_like(v).index_add(0, batch.target, message)  # (N, W)
        return functional.softplus(v + self.node_norm(total, batch.multiplicity))  # (N, W)


class SimpleConvolution(nn.Module):
    """Simple convolution, eq. 4: g[(Σ_j v_j ⊕ u(d)) W_c + v_i W_s + b].

    The argument of g is normalised; in evaluation that is a factor and a shift, part of the weights as it were. Sums
    are made before the products, which are then made once a node.
    """

    def __init__(self, width: int, gaussians: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = nn.Linear(gaussians, width, bias=False)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: GraphBatch) -> Tensor:
        """New node vectors (N, W) from node vectors v (N, W) and expanded distances u (E, K)."""
        often = batch.edge_multiplicity[:, None]  # (E, 1)
        neighbours = torch.zeros_like(v).index_add(0, batch.target, v.index_select(0, batch.source) * often)  # (N, W)
        distances = u.new_zeros(len(v), u.shape[1]).index_add(0, batch.target, u * often)  # (N, K)
        z = self.sender(neighbours) + self.distance(distances) + self.receiver(v)  # (N, W)
        return functional.softplus(self.node_norm(z, batch.multiplicity))  # (N, W)


CONVOLUTIONS = {"gated": Convolution, "simple": SimpleConvolution}


class CGCNN(nn.Module):
    """Element features and learned element vectors → convolutions → pooling → hidden layers → targets."""

    element_features: Tensor
    centres: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, settings: Settings, element_features: Tensor) -> None:
        super().__init__()
        s = settings
        self.settings = s
        # In torch's own aligned memory, row by row: products of other layouts differ in the last bit.
        features = element_features.clone(memory_format=torch.contiguous_format)
        self.register_buffer("element_features", features)  # (101, F)
        self.register_buffer("centres", torch.linspace(0, s.radius, s.gaussians))  # (K,)
        self.register_buffer("target_mean", torch.zeros(len(s.targets)))  # (T,)
        self.register_buffer("target_std", torch.ones(len(s.targets)))  # (T,)
        self.embed = nn.Linear(element_features.shape[1], s.width)
        # Zero at first, so that an element without training rows is described by its features alone.
        self.learned = nn.Parameter(torch.zeros(element_features.shape[0], s.width))  # (101, W)
        self.convolutions = nn.ModuleList(CONVOLUTIONS[s.convolution](s.width, s.gaussians) for _ in range(s.layers))
        self.dropout = nn.Dropout(s.dropout)
        sizes = [s.width, *[s.hidden] * (0 if s.pooling == "linear" else s.hidden_layers)]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], len(s.targets))

    def forward(self, batch: GraphBatch) -> Tensor:
        """Targets (G, T) in their units; probabilities where a target is binary."""
        values = self.scaled(batch) * self.target_std + self.target_mean  # (G, T)
        if not self.settings.binary:
            return values
        binary = torch.tensor([name in self.settings.binary for name in self.settings.targets], device=values.device)
        return torch.where(binary, values.sigmoid(), values)

    def scaled(self, batch: GraphBatch) -> Tensor:
        """Targets (G, T) with the training set's mean 0 and deviation 1; log odds where a target is binary."""
        if self.settings.pooling == "linear":
            return mean_pool(self.output(self.dropout(self.nodes(batch))), batch)
        crystal = POOLS[self.settings.pooling](self.nodes(batch), batch)  # (G, W)
        crystal = self.dropout(functional.softplus(crystal))  # (G, W)
        for layer in self.hidden:
            crystal = functional.softplus(layer(crystal))  # (G, H)
        return cast("Tensor", self.output(crystal))  # (G, T)

    def contributions(self, batch: GraphBatch) -> Tensor:
        """What an atom of each node contributes (N, T) with linear pooling; their mean over a crystal is its target.

        In the targets' units; log odds where a target is binary.
        """
        return cast("Tensor", self.output(self.nodes(batch)) * self.target_std + self.target_mean)  # (N, T)

    def nodes(self, batch: GraphBatch) -> Tensor:
        """Node vectors (N, W) after the last convolution."""
        table = self.embed(self.element_features) + self.learned  # (101, W)
        v: Tensor = table.index_select(0, batch.numbers)  # (N, W)
        u = self.expand(batch.distance)  # (E, K)
        for convolution in self.convolutions:
            v = convolution(v, u, batch)
        return v

    def expand(self, distance: Tensor) -> Tensor:
        """Gaussians (E, K) of distances (E,) Å, as wide as their spacing."""
        spacing = self.centres[1] - self.centres[0]
        offset = (distance[:, None] - self.centres) / spacing  # (E, K)
        return offset.square().neg().exp()


def sum_pool(v: Tensor, batch: GraphBatch) -> Tensor:
    """Sum over the atoms of each crystal, (G, W) from node vectors (N, W)."""
    return v.new_zeros(batch.n_graphs, v.shape[1]).index_add(0, batch.graph, v * batch.multiplicity[:, None])


def mean_pool(v: Tensor, batch: GraphBatch) -> Tensor:
    """Mean over the atoms of each crystal (normalised sum), (G, W) from node vectors (N, W)."""
    atoms = v.new_zeros(batch.n_graphs).index_add(0, batch.graph, batch.multiplicity)  # (G,)
    return sum_pool(v, batch) / atoms[:, None]


def max_pool(v: Tensor, batch: GraphBatch) -> Tensor:
    """Largest value over the atoms of each crystal, component by component, (G, W) from node vectors (N, W)."""
    lowest = v.new_full((batch.n_graphs, v.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, batch.graph[:, None].expand_as(v), v, "amax")


POOLS = {"mean": mean_pool, "sum": sum_pool, "max": max_pool}
