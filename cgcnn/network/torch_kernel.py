"""The reference network as a kernel for GPUs and other devices of torch.

Candidates of a gated network go through `TemplateNetwork`: on a template, whatever differs from edge to edge is written
out, so that everything is products, sums and functions of whole arrays after one look-up of the elements. Small
networks are also trained in this form.

Shapes: n candidates, N nodes of the template, W width, K Gaussians, D distinct distances, T targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import templates
from cgcnn.network.reference import ACTIVATIONS, TensorBatch, network
from cgcnn.network.settings import EPSILON, ROLES, B

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype, Template
    from cgcnn.network.kernel import Outputs, Weights
    from cgcnn.network.reference import CGCNN, GatedConvolution, SiteReadout, WeightedNorm
    from cgcnn.network.settings import Settings


ROWS_AT_ONCE = 1024  # candidates; bounds memory and keeps intermediate results near the caches
EDGES_AT_ONCE = 50_000  # of graphs; bounds memory whatever the size of the crystals


class TemplateNetwork:
    """A network on a template; norms are as in evaluation, and gradients pass through all parameters.

    Raises:
        ValueError: The convolutions are not gated.
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
        for target, source, length, multiplicity in edges:
            self._edges[int(target)].append((int(source), int(length), float(multiplicity)))
        self._atoms = [float(count) for count in graph.multiplicity]

    def targets(self, species: Tensor, a: Tensor) -> Tensor:
        """Predict the targets (n, T) in their units, for species (n, n_sites) int64 and lattice constants a (n,), Å."""
        network = self.network
        values = self.scaled(species, a) * network.target_std + network.target_mean
        binary = [name in network.settings.binary for name in network.settings.targets]
        return torch.where(torch.tensor(binary, device=values.device), values.sigmoid(), values)

    def scaled(self, species: Tensor, a: Tensor) -> Tensor:
        """Predict the targets (n, T) on the scale of the training, for species (n, n_sites) int64 and a (n,), Å."""
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
        """Return N node vectors (n, W) after the last convolution."""
        network = self.network
        table = network.embed(network.element_features) + network.learned  # (101, W)
        v = [functional.embedding(of_node, table) for of_node in numbers]
        u = network.expand((self._lengths.to(a.device)[:, None] * a).flatten())  # (D n, K)
        for convolution in network.convolutions:
            v = self._convolve(cast("GatedConvolution", convolution), v, u)
        return v

    def _convolve(self, layer: GatedConvolution, v: list[Tensor], u: Tensor) -> list[Tensor]:
        """Return new node vectors; the edge norm is folded into the products before it."""
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
            for source, length, multiplicity in edges:
                gate, core = (received + sent[source] + apart[length]).chunk(2, dim=1)  # (n, W) each
                total = total + multiplicity * (torch.sigmoid(gate) * functional.softplus(core))
            made.append(functional.softplus(node + torch.addcmul(offset, total, scale)))
        return made

    def _pool(self, v: list[Tensor]) -> Tensor:
        """Pool N node vectors into (n, W)."""
        pooling = self.network.settings.pooling
        if pooling == "max":
            return torch.stack(v).amax(dim=0)
        return self._mean(v) * (sum(self._atoms) if pooling == "sum" else 1.0)

    def _mean(self, v: list[Tensor]) -> Tensor:
        """Average N arrays (n, …) over the atoms."""
        whole = sum(self._atoms)
        return torch.stack([node * (atoms / whole) for node, atoms in zip(v, self._atoms, strict=True)]).sum(dim=0)

    def _read_sites(self, sites: SiteReadout, numbers: list[Tensor]) -> Tensor:
        """Return the readout of sites (n, PS), see `cgcnn.network.reference.SiteReadout`."""
        tables = sites.table(self.network.element_features)  # (R, 101, S)

        def mean(role: int, table: Tensor) -> Tensor:  # (n, S)
            nodes = [node for node, own in enumerate(self._roles) if own == role]
            whole = sum(self._atoms[node] for node in nodes)
            parts = [functional.embedding(numbers[node], table) * (self._atoms[node] / whole) for node in nodes]
            return torch.stack(parts).sum(dim=0)

        squares = mean(B, tables[B].square()) if sites.spread else None
        return sites.joined([mean(role, tables[role]) for role in range(ROLES)], squares)


def _norm(norm: WeightedNorm) -> tuple[Tensor, Tensor]:
    """Return the factor and shift (C,) that a norm amounts to in evaluation."""
    factor = norm.scale * torch.rsqrt(norm.variance + EPSILON)
    return factor, norm.shift - norm.mean * factor


class TorchKernel:
    """See `cgcnn.network.kernel.Kernel`. The last bits of a prediction may depend on its batch."""

    name = "torch"
    version = 2
    independent = False

    def __init__(self, settings: Settings, members: Sequence[Weights], device: str = "cpu") -> None:
        self.settings, self.device = settings, device
        self.networks = [network(settings, member).eval().to(device) for member in members]

    @torch.inference_mode()
    def predict(self, batch: GraphBatch) -> Outputs:
        """Predict the targets (members, n, T) of n graphs."""
        parts = [self._predict(batch.part(*run)) for run in batch.runs(EDGES_AT_ONCE)]
        return np.concatenate([self._nothing, *parts], axis=1)

    @torch.inference_mode()
    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """Predict the targets (members, n, T) of n candidates."""
        gated = self.settings.convolution == "gated"
        outputs = np.empty((len(self.networks), len(species), len(self.settings.targets)), dtype=np.float32)
        for template, served in templates(prototype, species, self.settings.neighbours):
            on_template = [TemplateNetwork(member, template) for member in self.networks] if gated else []
            for i in range(0, len(served), ROWS_AT_ONCE):
                rows = served[i : i + ROWS_AT_ONCE]
                if gated:
                    cells = self._tensor(species[rows]).int(), self._tensor(a[rows])
                    outputs[:, rows] = np.stack([member.targets(*cells).cpu().numpy() for member in on_template])
                else:
                    neighbours = self.settings.neighbours
                    outputs[:, rows] = self._predict(
                        GraphBatch.of_prototype(prototype, species[rows], a[rows], neighbours)
                    )
        return outputs

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    @torch.inference_mode()
    def pooled(self, batch: GraphBatch) -> NDArray[np.float32]:
        """Return the vectors (n, W) of n crystals in the first member."""
        nothing = np.empty((0, self.settings.width), dtype=np.float32)
        parts = [TensorBatch.of(batch.part(*run), self.device) for run in batch.runs(EDGES_AT_ONCE)]
        return np.concatenate([nothing, *(self.networks[0].pooled(part).cpu().numpy() for part in parts)])

    @torch.inference_mode()
    def contributions(self, batch: GraphBatch) -> Outputs:
        """Return the contributions (members, N, T) of N nodes."""
        tensors = TensorBatch.of(batch, self.device)
        return np.stack([member.contributions(tensors).cpu().numpy() for member in self.networks])

    def _predict(self, batch: GraphBatch) -> Outputs:
        tensors = TensorBatch.of(batch, self.device)
        return np.stack([member(tensors).cpu().numpy() for member in self.networks])

    @property
    def _nothing(self) -> Outputs:
        return np.empty((len(self.networks), 0, len(self.settings.targets)), dtype=np.float32)
