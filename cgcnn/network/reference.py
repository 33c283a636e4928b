"""The crystal graph convolutional network (Xie and Grossman, Phys. Rev. Lett. 2018, 120, 145301).

Every sum over atoms or neighbours is weighted by multiplicities, BatchNorm statistics included, so that a quotient
graph and the full graph give the same output, in training and in evaluation. See `cgcnn.network.convolution`.

Shapes: N nodes, E edges, G graphs, W width, F element features, K Gaussians, H hidden, T targets.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cgcnn.network.convolution import CONVOLUTIONS
from cgcnn.network.readout import SiteReadout

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cgcnn.network.folded import Weights
    from cgcnn.network.settings import Settings
    from cgcnn.network.tensors import TensorBatch


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
        """Targets (G, T) in their units; probabilities where a target is binary."""
        values = self.scaled(batch) * self.target_std + self.target_mean  # (G, T)
        if not self.settings.binary:
            return values
        binary = torch.tensor([name in self.settings.binary for name in self.settings.targets], device=values.device)
        return torch.where(binary, values.sigmoid(), values)

    def scaled(self, batch: TensorBatch) -> Tensor:
        """Targets (G, T) with the training set's mean 0 and deviation 1; log odds where a target is binary.

        A mixed target and its parts have one mean and one deviation.
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
        """Outputs (G, T) with the mixed target, if there is one, in its place."""
        if self.settings.mixed is None:
            return outputs
        whole, yes, no, chance = self.settings.mixed
        mean = torch.lerp(outputs[:, no], outputs[:, yes], outputs[:, chance].sigmoid())  # (G,)
        column = torch.arange(outputs.shape[1], device=outputs.device) == whole  # (T,)
        return torch.where(column, mean[:, None], outputs)

    def contributions(self, batch: TensorBatch) -> Tensor:
        """What an atom of each node contributes (N, T) with linear pooling; their mean over a crystal is its target.

        In the targets' units; log odds where a target is binary.
        """
        return cast("Tensor", self.output(self.nodes(batch)) * self.target_std + self.target_mean)  # (N, T)

    def pooled(self, batch: TensorBatch) -> Tensor:
        """The vector of each crystal (G, W); with linear pooling the mean over its atoms."""
        return POOLS.get(self.settings.pooling, mean_pool)(self.nodes(batch), batch)

    def nodes(self, batch: TensorBatch) -> Tensor:
        """Node vectors (N, W) after the last convolution."""
        table = self.embed(self.element_features) + self.learned  # (101, W)
        v: Tensor = table.index_select(0, batch.numbers)  # (N, W)
        e = self.embed_edges(self.expand(batch.distance))  # (E, K)
        for convolution in self.convolutions:
            v, e = convolution(v, e, batch)
        return v

    def expand(self, distance: Tensor) -> Tensor:
        """Gaussians (E, K) of distances (E,) Å, as wide as their spacing."""
        spacing = self.centres[1] - self.centres[0]
        offset = (distance[:, None] - self.centres) / spacing  # (E, K)
        return offset.square().neg().exp()


def sum_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Sum over the atoms of each crystal, (G, W) from node vectors (N, W)."""
    return v.new_zeros(batch.n_graphs, v.shape[1]).index_add(0, batch.graph, v * batch.multiplicity[:, None])


def mean_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Mean over the atoms of each crystal (normalised sum), (G, W) from node vectors (N, W)."""
    atoms = v.new_zeros(batch.n_graphs).index_add(0, batch.graph, batch.multiplicity)  # (G,)
    return sum_pool(v, batch) / atoms[:, None]


def max_pool(v: Tensor, batch: TensorBatch) -> Tensor:
    """Largest value over the atoms of each crystal, component by component, (G, W) from node vectors (N, W)."""
    lowest = v.new_full((batch.n_graphs, v.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, batch.graph[:, None].expand_as(v), v, "amax")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"softplus": functional.softplus, "silu": functional.silu}
POOLS = {"mean": mean_pool, "sum": sum_pool, "max": max_pool}


def network(settings: Settings, weights: Weights) -> CGCNN:
    """The network of these weights, by the names that its state has."""
    tensors = {name: torch.from_numpy(np.require(array, requirements="W")) for name, array in weights.items()}
    member = CGCNN(settings, tensors["element_features"])
    member.load_state_dict(tensors)
    return member


def weights(member: CGCNN) -> dict[str, NDArray[np.generic]]:
    """The state of a network as arrays of their own; the inverse of `network`."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in member.state_dict().items()}
