"""What each atom contributes to a prediction, by models with linear pooling (Fig. 3c,d of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.batch import from_graphs
from cgcnn.errors import UserError
from cgcnn.graph import CrystalGraph
from cgcnn.original import original_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.batch import GraphBatch
    from cgcnn.weights import Model

Contributions = dict[str, "NDArray[np.float32]"]


@torch.inference_mode()
def node_contributions(model: Model, batch: GraphBatch) -> Contributions:
    """For every target what an atom of each node contributes, (N,) float32, in the target's unit (binary: log odds).

    The mean over the atoms of a crystal is the prediction (binary: its log odds, of one member); the values are means
    over the members.

    Raises:
        UserError: The model does not pool linearly.
    """
    if model.settings.pooling != "linear":
        raise UserError(
            f"model {model.card.name}: pools by {model.settings.pooling}, so that atoms have no contributions of their "
            'own; train one with pooling = "linear"'
        )
    mean = torch.stack([member.contributions(batch.to(model.device)) for member in model.members]).mean(dim=0)  # (N, T)
    return {name: mean[:, i].cpu().numpy() for i, name in enumerate(model.settings.targets)}


def atom_contributions(model: Model, crystals: Sequence[Structure]) -> list[Contributions]:
    """`node_contributions` of every atom of every crystal, (atoms,) in the order of its sites.

    Raises:
        UserError: The model does not pool linearly or takes no structures, or a crystal cannot become a graph.
    """
    if model.card.input != "structure":
        raise UserError(f"model {model.card.name}: takes compositions, not structures; see site_contributions")
    settings = model.settings
    build = original_graph if settings.graphs == "original" else CrystalGraph.from_structure
    graphs = [build(crystal, neighbours=settings.neighbours, radius=settings.radius) for crystal in crystals]
    values = node_contributions(model, from_graphs(graphs))
    ends = np.cumsum([len(graph.numbers) for graph in graphs])[:-1]
    parts = {name: np.split(value, ends) for name, value in values.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(graphs))]


def site_contributions(model: Model, species: NDArray[np.uint8]) -> Contributions:
    """`node_contributions` of every site of a prototype's candidates.

    Args:
        model: A prototype model with linear pooling.
        species: (n, n_sites) atomic numbers; equal-role sites in any order.

    Returns:
        (n, n_sites) float32 for every target; columns are the sites of the canonical rows.

    Raises:
        UserError: The model does not pool linearly or takes structures, or the species do not fit.
    """
    rows, a = model.cells(species)
    prototype, neighbours = model.prototype, model.settings.neighbours
    graphs = [prototype.graph(row, float(x), neighbours) for row, x in zip(rows, a, strict=True)]
    return {name: value.reshape(rows.shape) for name, value in node_contributions(model, from_graphs(graphs)).items()}
