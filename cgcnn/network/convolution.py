"""What happens between the atoms of a crystal: the paper's two convolutions, and one that keeps a state on every edge.

Each takes node vectors v (N, W), edge vectors e (E, K) and the batch, and gives new ones of both. Every sum over
neighbours is weighted by multiplicities, so that a quotient graph and the full graph give the same.

Shapes: N nodes, E edges, W width, K length of the edge vectors that come in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from cgcnn.network.norm import WeightedNorm
from cgcnn.network.settings import SHARE

if TYPE_CHECKING:
    from cgcnn.network.tensors import TensorBatch


class GatedConvolution(nn.Module):
    """Gated convolution, eq. 5: v_i + Σ_j sigmoid(z W_f + b_f) ⊙ g(z W_s + b_s) with z = v_i ⊕ v_j ⊕ u(d).

    z W is computed as v_i W_i + v_j W_j + u W_u: the products with v are then made once a node, not once an edge.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, 2 * width)
        self.sender = nn.Linear(width, 2 * width, bias=False)
        self.distance = nn.Linear(edge_width, 2 * width, bias=False)
        self.edge_norm = WeightedNorm(2 * width)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """New node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        per_atom = batch.edge_multiplicity * batch.multiplicity[batch.target]  # (E,) edges of the full graph
        z = self.receiver(v).index_select(0, batch.target) + self.sender(v).index_select(0, batch.source)
        z = z + self.distance(u)  # (E, 2W)
        gate, core = self.edge_norm(z, per_atom).chunk(2, dim=1)  # (E, W) each
        message = torch.sigmoid(gate) * functional.softplus(core) * batch.edge_multiplicity[:, None]  # (E, W)
        total = torch.zeros_like(v).index_add(0, batch.target, message)  # (N, W)
        return functional.softplus(v + self.node_norm(total, batch.multiplicity)), u


class SimpleConvolution(nn.Module):
    """Simple convolution, eq. 4: g[(Σ_j v_j ⊕ u(d)) W_c + v_i W_s + b].

    The argument of g is normalised; in evaluation that is a factor and a shift, part of the weights as it were. Sums
    are made before the products, which are then made once a node.
    """

    def __init__(self, width: int, edge_width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = nn.Linear(edge_width, width, bias=False)
        self.node_norm = WeightedNorm(width)

    def forward(self, v: Tensor, u: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """New node vectors (N, W) from v (N, W) and expanded distances u (E, K), which stay as they are."""
        often = batch.edge_multiplicity[:, None]  # (E, 1)
        neighbours = torch.zeros_like(v).index_add(0, batch.target, v.index_select(0, batch.source) * often)  # (N, W)
        distances = u.new_zeros(len(v), u.shape[1]).index_add(0, batch.target, u * often)  # (N, K)
        z = self.sender(neighbours) + self.distance(distances) + self.receiver(v)  # (N, W)
        return functional.softplus(self.node_norm(z, batch.multiplicity)), u


class EdgeConvolution(nn.Module):
    """Edges change, then nodes: e_ij + Δ_ij with Δ = MLP(v_i ⊕ v_j ⊕ e_ij), and v_i + MLP(v_i ⊕ Σ_j Δ_ij).

    As in coGN (arXiv 2302.14102): what two atoms tell each other comes to depend on what surrounds them. There are no
    norms; the sum is made smaller instead.
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
        """New node vectors (N, W) and edge vectors (E, W) from v (N, W) and e (E, W)."""
        z = self.receiver(v).index_select(0, batch.target) + self.sender(v).index_select(0, batch.source)  # (E, W)
        change = functional.silu(self.change(functional.silu(z + self.distance(e))))  # (E, W)
        message = change * (batch.edge_multiplicity * SHARE)[:, None]  # (E, W)
        total = torch.zeros_like(v).index_add(0, batch.target, message)  # (N, W)
        v = v + self.node_change(functional.silu(self.collect(torch.cat([v, total], dim=1))))  # (N, W)
        return v, e + change


CONVOLUTIONS = {"gated": GatedConvolution, "simple": SimpleConvolution, "edges": EdgeConvolution}
