"""The crystal graph convolutional network (Xie and Grossman, Phys. Rev. Lett. 2018, 120, 145301), in torch.

This is the definition that every kernel must agree with. Every sum over atoms or neighbours is weighted by
multiplicities, norm statistics included, so that a quotient graph and the full graph give the same output in training
and in evaluation.

Shapes: N nodes, E edges, G graphs, W width, F element features, K Gaussians (or length of the edge vectors), H hidden,
T targets; R roles of a perovskite's sites, S length of a role's vector, P vectors in the readout of sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from cgcnn.elements import MAX_Z
from cgcnn.network.settings import EPSILON, ROLES, SHARE, B

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.network.kernel import Weights
    from cgcnn.network.settings import Settings


@dataclass(frozen=True, eq=False)
class TensorBatch:
    """A `cgcnn.graphs.batch.GraphBatch` as tensors on one device; on a CPU they share its memory.

    Attributes:
        numbers: (N,) int32, atomic numbers.
        multiplicity: (N,) float32, atoms that a node stands for.
        source: (E,) int32, node that sends, counted over the batch.
        target: (E,) int32, node that receives, ascending.
        distance: (E,) float32, Å.
        edge_multiplicity: (E,) float32, neighbours that an edge stands for.
        graph: (N,) int64, the graph of each node.
        n_graphs: Number of graphs.
        role: (N,) int64, role of each node's site; None for crystals.
    """

    numbers: Tensor
    multiplicity: Tensor
    source: Tensor
    target: Tensor
    distance: Tensor
    edge_multiplicity: Tensor
    graph: Tensor
    n_graphs: int
    role: Tensor | None = None

    @classmethod
    def of(cls, batch: GraphBatch, device: str = "cpu") -> TensorBatch:
        """View a batch as tensors, or copy it to a device other than "cpu"."""
        return cls(
            numbers=_tensor(batch.numbers, device).int(),
            multiplicity=_tensor(batch.multiplicity, device).float(),
            source=_tensor(batch.source, device),
            target=_tensor(batch.target, device),
            distance=_tensor(batch.distance, device),
            edge_multiplicity=_tensor(batch.edge_multiplicity, device).float(),
            graph=_tensor(batch.graph, device),
            n_graphs=len(batch),
            role=None if batch.role is None else _tensor(batch.role, device).long(),
        )


def _tensor(array: NDArray[np.generic], device: str) -> Tensor:
    """Make a tensor over the array's memory; a read-only array, such as one from another process, is copied."""
    return torch.from_numpy(np.require(array, requirements="W")).to(device)


class WeightedNorm(nn.Module):
    """BatchNorm for quotient graphs: its statistics count each row as often as its weight says."""

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
    """A norm in training, with its own gradient, which takes half as many passes over M rows as autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x (M, C) normalised, and its mean and variance (C,); the rows' shares (M,) add up to 1."""
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
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by x, scale and shift."""
        y, share, scale, inverse = ctx.saved_tensors
        by_shift, by_scale = grad.sum(dim=0), (grad * y).sum(dim=0)  # (C,)
        common = torch.addcmul(by_shift, y, by_scale).mul_(share[:, None])  # (M, C) through mean and variance
        return common.neg_().add_(grad).mul_(scale * inverse), None, by_scale, by_shift


class GatedConvolution(nn.Module):
    """The gated convolution, eq. 5: v_i + Σ_j sigmoid(z W_f + b_f) ⊙ g(z W_s + b_s) with z = v_i ⊕ v_j ⊕ u(d).

    z W is computed as v_i W_i + v_j W_j + u W_u, so that products with v are made once a node, not once an edge.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, 2 * width)
        self.sender = nn.Linear(width, 2 * width, bias=False)
        self.distance = nn.Linear(edge_width, 2 * width, bias=False)
        self.edge_norm = WeightedNorm(2 * width)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return new node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        full = batch.edge_multiplicity * batch.multiplicity[batch.target]  # (E,) edges of the full graph
        z = self.receiver(v).index_select(0, batch.target) + self.sender(v).index_select(0, batch.source)
        z = z + self.distance(u)  # (E, 2W)
        gate, core = self.edge_norm(z, full).chunk(2, dim=1)  # (E, W) each
        message = torch.sigmoid(gate) * functional.softplus(core) * batch.edge_multiplicity[:, None]  # (E, W)
        total = torch.zeros_like(v).index_add(0, batch.target, message)  # (N, W)
        return functional.softplus(v + self.node_norm(total, batch.multiplicity)), u


class SimpleConvolution(nn.Module):
    """The simple convolution, eq. 4: g[(Σ_j v_j ⊕ u(d)) W_c + v_i W_s + b].

    The argument of g is normalised; in evaluation that is a factor and a shift, which could be part of the weights.
    Sums come before products, so that products are made once a node.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = nn.Linear(edge_width, width, bias=False)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return new node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        weight = batch.edge_multiplicity[:, None]  # (E, 1)
        neighbours = torch.zeros_like(v).index_add(0, batch.target, v.index_select(0, batch.source) * weight)  # (N, W)
        distances = u.new_zeros(len(v), u.shape[1]).index_add(0, batch.target, u * weight)  # (N, K)
        z = self.sender(neighbours) + self.distance(distances) + self.receiver(v)  # (N, W)
        return functional.softplus(self.node_norm(z, batch.multiplicity)), u


class EdgeConvolution(nn.Module):
    """A convolution that updates edges, then nodes: e_ij + Δ_ij, Δ = MLP(v_i ⊕ v_j ⊕ e_ij); v_i + MLP(v_i ⊕ Σ_j Δ_ij).

    As in coGN (arXiv 2302.14102), the message between two atoms comes to depend on their surroundings. There are no
    norms; the sum is scaled down instead.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = nn.Linear(edge_width, width, bias=False)
        self.change = nn.Linear(width, width)
        self.collect = nn.Linear(2 * width, width)
        self.node_change = nn.Linear(width, width)

    def forward(self, v: Tensor, e: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Return new node vectors (N, W) and edge vectors (E, W) from v (N, W) and e (E, W)."""
        z = self.receiver(v).index_select(0, batch.target) + self.sender(v).index_select(0, batch.source)  # (E, W)
        change = functional.silu(self.change(functional.silu(z + self.distance(e))))  # (E, W)
        message = change * (batch.edge_multiplicity * SHARE)[:, None]  # (E, W)
        total = torch.zeros_like(v).index_add(0, batch.target, message)  # (N, W)
        v = v + self.node_change(functional.silu(self.collect(torch.cat([v, total], dim=1))))  # (N, W)
        return v, e + change


CONVOLUTIONS = {"gated": GatedConvolution, "simple": SimpleConvolution, "edges": EdgeConvolution}


class SiteReadout(nn.Module):
    """The elements of a perovskite's sites, read together: vectors of A, B and X, and their products.

    The vector of a role is the mean over its atoms of the vector that their element has on this role. With
    ``site_spread`` the readout adds the variance on B (zero unless there are B and B') and its products with X and A.
    """

    def __init__(self, settings: Settings, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, ROLES * settings.sites)
        # Zero at first, so that an element without training rows is described by its features alone.
        self.learned = nn.Parameter(torch.zeros(ROLES, MAX_Z + 1, settings.sites))
        self.dropout = nn.Dropout(settings.site_dropout)
        self.spread = settings.site_spread

    def table(self, element_features: Tensor) -> Tensor:
        """Return the vector (R, 101, S) of each element on each role, from element features (101, F)."""
        found: Tensor = self.embed(element_features).reshape(len(element_features), ROLES, -1)  # (101, R, S)
        return found.transpose(0, 1) + self.learned

    def forward(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """Return the readout (G, PS) of the batch's graphs.

        Raises:
            ValueError: The graphs are not of prototypes.
        """
        u = self.means(batch, element_features).unbind(dim=1)  # R of (G, S)
        squares = role_means(batch, self.table(element_features).square())[:, B] if self.spread else None
        return self.joined(u, squares)

    def means(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """Return the vectors (G, R, S) of A, B and X.

        Raises:
            ValueError: The graphs are not of prototypes.
        """
        return role_means(batch, self.table(element_features))

    def joined(self, u: Sequence[Tensor], squares: Tensor | None) -> Tensor:
        """Join the roles' vectors, R of (G, S), to (G, PS); the spread needs the mean squares of B (G, S)."""
        parts = [*u, *(a * b for a, b in combinations(u, 2)), u[0] * u[1] * u[2]]
        if squares is not None:
            spread = squares - u[B].square()
            parts += [spread, spread * u[2], spread * u[0]]
        found: Tensor = self.dropout(torch.cat(parts, dim=1))
        return found


def role_means(batch: TensorBatch, table: Tensor) -> Tensor:
    """Average over the atoms of each role what a table (R, 101, S) holds for their elements, (G, R, S).

    Raises:
        ValueError: The graphs are not of prototypes.
    """
    if batch.role is None:
        raise ValueError("a readout of sites needs graphs of prototypes, whose nodes have roles")
    group = batch.graph * ROLES + batch.role  # (N,)
    atoms = batch.multiplicity.new_zeros(batch.n_graphs * ROLES).index_add(0, group, batch.multiplicity)
    share = batch.multiplicity / atoms[group]  # (N,)
    vectors = table[batch.role, batch.numbers] * share[:, None]  # (N, S)
    sums = vectors.new_zeros(len(atoms), vectors.shape[1]).index_add(0, group, vectors)
    return sums.reshape(batch.n_graphs, ROLES, -1)


class CGCNN(nn.Module):
    """The network: element features and learned element vectors → convolutions → pooling → hidden layers → targets."""

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
        convolution, learns = CONVOLUTIONS[s.convolution], s.convolution == "edges"  # vectors of edges as of nodes
        self.embed_edges = nn.Sequential(nn.Linear(s.gaussians, s.width), nn.SiLU()) if learns else nn.Identity()
        edge_width = s.width if learns else s.gaussians
        self.convolutions = nn.ModuleList(convolution(s.width, edge_width) for _ in range(s.layers))
        self.dropout = nn.Dropout(s.dropout)
        self.sites = SiteReadout(s, element_features.shape[1]) if s.sites else None
        sizes = [s.readout_width, *[s.hidden] * (0 if s.pooling == "linear" else s.hidden_layers)]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], len(s.targets))

    def forward(self, batch: TensorBatch) -> Tensor:
        """Predict the targets (G, T) in their units; probabilities where a target is binary."""
        values = self.scaled(batch) * self.target_std + self.target_mean  # (G, T)
        if not self.settings.binary:
            return values
        binary = torch.tensor([name in self.settings.binary for name in self.settings.targets], device=values.device)
        return torch.where(binary, values.sigmoid(), values)

    def scaled(self, batch: TensorBatch) -> Tensor:
        """Predict the targets (G, T) on the scale of the training, with mean 0 and deviation 1; log odds if binary.

        A mixed target and its parts share one mean and one deviation.
        """
        if self.settings.pooling == "linear":
            return mean_pool(self.output(self.dropout(self.nodes(batch))), batch)
        crystal = self.dropout(functional.softplus(self.pooled(batch)))  # (G, W)
        if self.sites is not None:
            crystal = torch.cat([crystal, self.sites(batch, self.element_features)], dim=1)  # (G, W + PS)
        for layer in self.hidden:
            crystal = ACTIVATIONS[self.settings.activation](layer(crystal))  # (G, H)
        return self.mix(self.output(crystal))  # (G, T)

    def mix(self, outputs: Tensor) -> Tensor:
        """Fill in the mixed target of outputs (G, T), if there is one."""
        if self.settings.mixed is None:
            return outputs
        whole, yes, no, chance = self.settings.mixed
        mean = torch.lerp(outputs[:, no], outputs[:, yes], outputs[:, chance].sigmoid())  # (G,)
        column = torch.arange(outputs.shape[1], device=outputs.device) == whole  # (T,)
        return torch.where(column, mean[:, None], outputs)

    def contributions(self, batch: TensorBatch) -> Tensor:
        """Return what an atom of each node contributes (N, T) with linear pooling; the crystal's mean is its target.

        The units are those of the targets; log odds where a target is binary.
        """
        return cast("Tensor", self.output(self.nodes(batch)) * self.target_std + self.target_mean)  # (N, T)

    def pooled(self, batch: TensorBatch) -> Tensor:
        """Return the vector (G, W) of each crystal; with linear pooling the mean over its atoms."""
        return POOLS.get(self.settings.pooling, mean_pool)(self.nodes(batch), batch)

    def nodes(self, batch: TensorBatch) -> Tensor:
        """Return the node vectors (N, W) after the last convolution."""
        table = self.embed(self.element_features) + self.learned  # (101, W)
        v: Tensor = table.index_select(0, batch.numbers)  # (N, W)
        e = self.embed_edges(self.expand(batch.distance))  # (E, K)
        for convolution in self.convolutions:
            v, e = convolution(v, e, batch)
        return v

    def expand(self, distance: Tensor) -> Tensor:
        """Expand distances (E,), Å, in Gaussians (E, K) as wide as their spacing."""
        spacing = self.centres[1] - self.centres[0]
        offset = (distance[:, None] - self.centres) / spacing  # (E, K)
        return offset.square().neg().exp()


def sum_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Sum node vectors (N, W) over the atoms of each crystal, (G, W)."""
    return v.new_zeros(batch.n_graphs, v.shape[1]).index_add(0, batch.graph, v * batch.multiplicity[:, None])


def mean_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Average node vectors (N, W) over the atoms of each crystal, (G, W): the normalised sum."""
    atoms = v.new_zeros(batch.n_graphs).index_add(0, batch.graph, batch.multiplicity)  # (G,)
    return sum_pool(v, batch) / atoms[:, None]


def max_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Take the largest value of node vectors (N, W) over the atoms of each crystal, by component, (G, W)."""
    lowest = v.new_full((batch.n_graphs, v.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, batch.graph[:, None].expand_as(v), v, "amax")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"softplus": functional.softplus, "silu": functional.silu}
POOLS = {"mean": mean_pool, "sum": sum_pool, "max": max_pool}


def network(settings: Settings, weights: Weights) -> CGCNN:
    """Build the network that has these weights."""
    tensors = {name: torch.from_numpy(np.require(array, requirements="W")) for name, array in weights.items()}
    member = CGCNN(settings, tensors["element_features"])
    member.load_state_dict(tensors)
    return member


def weights(member: CGCNN) -> dict[str, NDArray[np.generic]]:
    """Copy the state of a network into arrays; the inverse of `network`."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in member.state_dict().items()}
