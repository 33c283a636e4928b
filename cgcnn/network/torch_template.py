"""The reference network on the candidates of a template, without index operations.

What differs from edge to edge is written out, so that all is products, sums and functions of whole arrays, after one
look-up of the elements. For GPUs, and to fit small networks.

Norms are as in evaluation; gradients pass through all parameters.

Shapes: n candidates, N nodes of the template, W width, K Gaussians, T targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cgcnn.network.reference import ACTIVATIONS
from cgcnn.network.settings import EPSILON, ROLES, B

if TYPE_CHECKING:
    from cgcnn.graphs.template import Template
    from cgcnn.network.convolution import GatedConvolution
    from cgcnn.network.norm import WeightedNorm
    from cgcnn.network.readout import SiteReadout
    from cgcnn.network.reference import CGCNN


class TemplateNetwork:
    """A network on a template; `scaled` and `targets` are as those of `cgcnn.network.reference.CGCNN`.

    Raises:
        ValueError: Its convolutions are not gated.
    """

    def __init__(self, network: CGCNN, template: Template) -> None:
        if network.settings.convolution != "gated":
            raise ValueError(f"on a template convolutions are gated, not {network.settings.convolution}")
        self.network, graph = network, template.graph
        lengths, which = np.unique(graph.distance, return_inverse=True)
        self._sites, self._roles = graph.numbers.tolist(), template.role.tolist()
        self._lengths = torch.tensor(lengths, dtype=torch.float32)
        edges = zip(graph.target, graph.source, which, graph.edge_multiplicity, strict=True)
        self._edges: list[list[tuple[int, int, float]]] = [[] for _ in self._sites]
        for target, source, length, often in edges:
            self._edges[int(target)].append((int(source), int(length), float(often)))
        self._atoms = [float(count) for count in graph.multiplicity]

    def targets(self, species: Tensor, a: Tensor) -> Tensor:
        """Targets (n, T) in their units, of species (n, n_sites) int64 and lattice constants a (n,), Å."""
        network = self.network
        values = self.scaled(species, a) * network.target_std + network.target_mean
        binary = [name in network.settings.binary for name in network.settings.targets]
        return torch.where(torch.tensor(binary, device=values.device), values.sigmoid(), values)

    def scaled(self, species: Tensor, a: Tensor) -> Tensor:
        """Targets (n, T) as the network was trained on them, of species (n, n_sites) int64 and a (n,), Å."""
        network, settings = self.network, self.network.settings
        numbers = [species[:, site] for site in self._sites]
        v = self._nodes(numbers, a)
        if settings.pooling == "linear":
            return self._mean([network.output(network.dropout(node)) for node in v])
        crystal = network.dropout(functional.softplus(self._pool(v)))  # (n, W)
        if network.sites is not None:
            crystal = torch.cat([crystal, self._read_sites(network.sites, numbers)], dim=1)
        for layer in network.hidden:
            crystal = ACTIVATIONS[settings.activation](layer(crystal))
        return network.mix(network.output(crystal))

    def _nodes(self, numbers: list[Tensor], a: Tensor) -> list[Tensor]:
        """N node vectors (n, W) after the last convolution."""
        network = self.network
        table = network.embed(network.element_features) + network.learned  # (101, W)
        v = [functional.embedding(of_node, table) for of_node in numbers]
        u = network.expand((self._lengths.to(a.device)[:, None] * a).flatten())  # (D n, K)
        for convolution in network.convolutions:
            v = self._convolve(cast("GatedConvolution", convolution), v, u)
        return v

    def _convolve(self, layer: GatedConvolution, v: list[Tensor], u: Tensor) -> list[Tensor]:
        """New node vectors; the norm of the edges is folded into the products that it is of."""
        factor, shift = _norm(layer.edge_norm)  # (2W,)
        bias = layer.receiver.bias * factor + shift
        apart = functional.linear(u, layer.distance.weight * factor[:, None])  # (D n, 2W)
        apart = apart.reshape(len(self._lengths), -1, apart.shape[1])  # (D, n, 2W)
        sent = [functional.linear(node, layer.sender.weight * factor[:, None]) for node in v]
        scale, offset = _norm(layer.node_norm)  # (W,)
        made = []
        for node, edges in zip(v, self._edges, strict=True):
            received = functional.linear(node, layer.receiver.weight * factor[:, None], bias)  # (n, 2W)
            total = torch.zeros_like(node)
            for source, length, often in edges:
                gate, core = (received + sent[source] + apart[length]).chunk(2, dim=1)  # (n, W) each
                total = total + often * (torch.sigmoid(gate) * functional.softplus(core))
            made.append(functional.softplus(node + torch.addcmul(offset, total, scale)))
        return made

    def _pool(self, v: list[Tensor]) -> Tensor:
        """(n, W) of N node vectors."""
        pooling = self.network.settings.pooling
        if pooling == "max":
            return torch.stack(v).amax(dim=0)
        return self._mean(v) * (sum(self._atoms) if pooling == "sum" else 1.0)

    def _mean(self, v: list[Tensor]) -> Tensor:
        """Mean over the atoms (n, …) of N arrays (n, …)."""
        whole = sum(self._atoms)
        return torch.stack([node * (atoms / whole) for node, atoms in zip(v, self._atoms, strict=True)]).sum(dim=0)

    def _read_sites(self, sites: SiteReadout, numbers: list[Tensor]) -> Tensor:
        """See `cgcnn.network.readout.SiteReadout`; (n, PS)."""
        tables = sites.table(self.network.element_features)  # (R, 101, S)

        def mean(role: int, table: Tensor) -> Tensor:  # (n, S)
            nodes = [node for node, own in enumerate(self._roles) if own == role]
            whole = sum(self._atoms[node] for node in nodes)
            parts = [functional.embedding(numbers[node], table) * (self._atoms[node] / whole) for node in nodes]
            return torch.stack(parts).sum(dim=0)

        squares = mean(B, tables[B].square()) if sites.spread else None
        return sites.joined([mean(role, tables[role]) for role in range(ROLES)], squares)


def _norm(norm: WeightedNorm) -> tuple[Tensor, Tensor]:
    """Factor and shift (C,) that a norm is in evaluation."""
    factor = norm.scale * torch.rsqrt(norm.variance + EPSILON)
    return factor, norm.shift - norm.mean * factor
