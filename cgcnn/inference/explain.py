"""Explain predictions by what each atom contributes, with models that pool linearly (Fig. 3c,d of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import compositions
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph, original_graph
from cgcnn.graphs.prototype import nodes_of_sites
from cgcnn.inference.plots import draw_elements
from cgcnn.models.card import read_card, shipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.card import Card
    from cgcnn.models.model import Model, PrototypeModel

Contributions = dict[str, "NDArray[np.float32]"]


@dataclass(frozen=True)
class SiteMeans:
    """What elements contribute on the sites of one role, averaged over a grid of partners on the others.

    Attributes:
        target: What the model predicts: the mean of the contributions over the atoms.
        unit: Unit of the contributions.
        role: The role of the sites, such as A.
        numbers: (E,) atomic numbers of the elements that training saw on these sites.
        mean: (E,) mean contribution over the candidates that hold the element on such a site.
        std: (E,) standard deviation over these candidates.
        count: (E,) number of sites in the mean.
        prediction: (E,) mean prediction of these candidates. An element also changes what its neighbours contribute, so
            this may go another way than its own contribution.
    """

    target: str
    unit: str
    role: str
    numbers: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    count: NDArray[np.int64]
    prediction: NDArray[np.float64]


def check_explains(card: Card) -> None:
    """Refuse a model whose predictions are no mean over atoms.

    Raises:
        UserError: The model does not pool linearly; the message names shipped models for its candidates that do.
    """
    if card.settings.pooling == "linear":
        return
    others = (other for other in map(read_card, shipped()) if other.settings.pooling == "linear")
    names = ", ".join(other.name for other in others if set(other.prototypes) & set(card.prototypes))
    remedy = f"use {names}, which is for explaining, or " if names else ""
    raise UserError(
        f"model {card.name}: pools by {card.settings.pooling}, so that atoms have no contributions of their own; "
        f'{remedy}train one with pooling = "linear"'
    )


def node_contributions(model: Model, batch: GraphBatch) -> Contributions:
    """Return what an atom of each node contributes to every target, (N,) float32, in its unit (binary: log odds).

    Values are means over the members. Their mean over the atoms of a crystal is the prediction (binary: the log odds,
    for a single member).

    Raises:
        UserError: The model does not pool linearly.
    """
    check_explains(model.card)
    mean = model.kernel.contributions(batch).mean(axis=0)  # (N, T)
    return {name: mean[:, i] for i, name in enumerate(model.settings.targets)}


def atom_contributions(model: Model, crystals: Sequence[Structure]) -> list[Contributions]:
    """Return the `node_contributions` of every atom of every crystal, (atoms,) in the order of its sites.

    Raises:
        UserError: The model does not pool linearly or takes no structures, or a crystal cannot become a graph.
    """
    if model.card.input != "structure":
        raise UserError(f"model {model.card.name}: takes compositions, not structures; see site_contributions")
    settings = model.settings
    build = original_graph if settings.graphs == "original" else CrystalGraph.from_structure
    graphs = [build(crystal, neighbours=settings.neighbours, radius=settings.radius) for crystal in crystals]
    batch = GraphBatch.of_graphs(graphs)
    values = node_contributions(model, batch)
    parts = {name: np.split(value, batch.node_starts[1:]) for name, value in values.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(graphs))]


def site_contributions(model: PrototypeModel, species: NDArray[np.uint8]) -> Contributions:
    """Return the `node_contributions` of an atom on every site of a prototype's candidates.

    Args:
        model: A model with linear pooling.
        species: (n, n_sites) atomic numbers; equal-role sites in any order.

    Returns:
        (n, n_sites) float32 for every target; columns are the sites of the canonical rows.

    Raises:
        UserError: The model does not pool linearly, or the species do not fit.
    """
    rows, a = model.cells(species)
    neighbours = model.settings.neighbours
    batch = GraphBatch.of_prototype(model.prototype, rows, a, neighbours)
    nodes = nodes_of_sites(model.prototype, rows, neighbours)
    return {name: value[nodes] for name, value in node_contributions(model.model, batch).items()}


def of_compositions(model: Model) -> PrototypeModel:
    """Return the model for the candidates of the first of its prototypes.

    Raises:
        UserError: The model takes structures.
    """
    if not model.card.prototypes:
        raise UserError(f"model {model.card.name}: takes structures; pass a model of a prototype")
    return model.on(model.card.prototypes[0])


def predictions(prototype: Prototype, contributions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Average what the atoms of each site contribute, (n, n_sites), over the atoms of each crystal, (n,)."""
    atoms = np.bincount(prototype.atoms)  # (n_sites,)
    mean: NDArray[np.float64] = contributions @ (atoms / atoms.sum())
    return mean


def grid(model: PrototypeModel) -> NDArray[np.uint8]:
    """Return every combination (n, n_sites), role by role, of what the training compositions hold on a role's sites.

    Raises:
        UserError: The model does not know its training compositions.
    """
    prototype = model.prototype
    known = compositions(model.domain.known, len(prototype.sites))
    if not len(known):
        raise UserError(f"model {model.card.name}: does not know its training compositions; train it again")
    columns = [np.flatnonzero(prototype.role_index == role) for role in range(len(prototype.role_names))]
    fillings = [np.unique(known[:, sites], axis=0) for sites in columns]
    chosen = np.indices([len(filling) for filling in fillings]).reshape(len(fillings), -1)  # (R, n)
    rows = np.empty((chosen.shape[1], len(prototype.sites)), dtype=np.uint8)
    for sites, filling, which in zip(columns, fillings, chosen, strict=True):
        rows[:, sites] = filling[which]
    return np.unique(prototype.canonical(rows), axis=0)


def site_means(model: PrototypeModel, target: str | None = None) -> list[SiteMeans]:
    """Average what every element contributes on the sites of every role over the model's `grid`; see `SiteMeans`.

    Args:
        model: A model with linear pooling.
        target: One of the model's targets, by default its first.

    Raises:
        UserError: The model does not pool linearly, or has no such target.
    """
    names = model.settings.targets
    target = target or names[0]
    if target not in names:
        raise UserError(f"`target` {target}: model {model.card.name} predicts {', '.join(names)}")
    check_explains(model.card)
    species = grid(model)
    values = site_contributions(model, species)[target]  # (n, n_sites)
    whole = predictions(model.prototype, values)
    unit = model.card.targets[names.index(target)].unit
    roles = model.prototype.role_index
    return [
        SiteMeans(target, unit, role, *_by_element(species[:, roles == i], values[:, roles == i], whole))
        for i, role in enumerate(model.prototype.role_names)
    ]


def _by_element(
    species: NDArray[np.uint8], values: NDArray[np.float32], prediction: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the arrays of `SiteMeans` for species and values (n, sites of one role) and predictions (n,)."""
    numbers, element, count = np.unique(species.ravel(), return_inverse=True, return_counts=True)

    def mean(x: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(element, weights=x) / count

    centre = mean(values.ravel())
    spread = np.sqrt(mean(np.square(values.ravel() - centre[element])))
    return numbers.astype(np.int64), centre, spread, count, mean(np.repeat(prediction, species.shape[1]))


MAPS = ("contributions.csv", "site-*.png", "site-*.svg", "crystals-*.png", "crystals-*.svg")
"""Patterns of the names of the files that `explain` writes."""


def explain(model: Model, folder: Path, target: str | None = None) -> list[Path]:
    """Write `site_means` to a folder: ``contributions.csv``, and for each role two maps as ``.png`` and ``.svg``.

    ``site-ROLE`` shows the contributions, ``crystals-ROLE`` the mean predictions of the crystals with an element there.

    Returns:
        The files.

    Raises:
        UserError: As `site_means` does, or the model takes structures, or matplotlib is missing, or a file cannot be
            written.
    """
    check_explains(model.card)
    means = site_means(of_compositions(model), target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
    files = [file for found in means for file in _draw(found, model.card.name, folder)]
    write_site_means(folder / "contributions.csv", means)
    return [*files, folder / "contributions.csv"]


def _draw(means: SiteMeans, name: str, folder: Path) -> list[Path]:
    role, target, unit = means.role, means.target, means.unit or "no unit"
    maps = (
        ("site", means.mean, f"contribution ({unit})", f"Contribution of the element on {role} to {target}"),
        (
            "crystals",
            means.prediction,
            f"{target} ({unit})",
            f"Predicted {target} of crystals with the element on {role}",
        ),
    )
    files: list[Path] = []
    for stem, values, quantity, title in maps:
        paths = [folder / f"{stem}-{role}{suffix}" for suffix in (".png", ".svg")]
        by_element = dict(zip(means.numbers.tolist(), values.tolist(), strict=True))
        draw_elements(by_element, quantity, f"{title}\n{name}, mean over all partners", paths)
        files += paths
    return files


def write_site_means(path: Path, means: Sequence[SiteMeans]) -> None:
    """Write ``element,site,contribution,std,count,prediction``, a row an element and role.

    Raises:
        UserError: The file cannot be written.
    """
    header = ["element", "site", "contribution", "std", "count", "prediction"]
    rows = [
        (SYMBOLS[z], found.role, f"{mean:.5f}", f"{std:.5f}", str(count), f"{prediction:.5f}")
        for found in means
        for z, mean, std, count, prediction in zip(
            found.numbers, found.mean, found.std, found.count, found.prediction, strict=True
        )
    ]
    write_csv(path, header, rows)
