"""Fit the members of an ensemble, each on its own split of a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cgcnn import __version__
from cgcnn.elements import SYMBOLS, element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.models.card import Card, Target
from cgcnn.models.domain import (
    Domain,
    Likeness,
    element_distance,
    fingerprint,
    fit_domain,
    fit_likeness,
    known_of,
    trained_on,
    with_labels,
)
from cgcnn.models.model import Model
from cgcnn.network.kernel import role_table
from cgcnn.network.reference import CGCNN, weights
from cgcnn.training.data import inputs
from cgcnn.training.distil import grid_network, shared_sets
from cgcnn.training.fit import EpochProgress, Examples, FitTask, Fitted, fit, one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.network.kernel import Weights
    from cgcnn.training.data import Split, TrainingTable
    from cgcnn.training.recipe import TrainRecipe

Report = Callable[[str, int, EpochProgress], None]
"""A function called after every epoch with the stage, the member and its progress."""


@dataclass(frozen=True)
class Ensemble:
    """The members of a training as models.

    Attributes:
        best: Members at their epochs of lowest validation loss; at their last epochs without validation rows.
        last: Members after their last epochs.
        history: Rows with member, epoch, loss and validation loss.
    """

    best: Model
    last: Model
    history: tuple[dict[str, Any], ...]


def fit_members(  # noqa: PLR0913  # what there is to fit
    table: TrainingTable,
    recipe: TrainRecipe,
    splits: Sequence[Split],
    checkpoints: Path,
    report: Callable[[int, EpochProgress], None],
    *,
    lessons: TrainingTable | None = None,
) -> Ensemble:
    """Fit one member for each split, on its training part; its validation part chooses the best epoch.

    Torch gets one thread for compositions, whose graphs have a few nodes each, and keeps its threads for structures.

    Args:
        table: Table from `cgcnn.training.data.prepare`.
        recipe: What to train; member i has the recipe's seed plus i.
        splits: Splits of the table's rows. Splits of compositions share one training part, as their input depends on
            it.
        checkpoints: Folder of checkpoints; members found there are resumed.
        report: Called with the member and its progress after every epoch.
        lessons: Compositions with labels from teachers, which every member also learns; they are neither in the domain
            nor on the card.

    Raises:
        UserError: Training diverged, or a checkpoint is not one of this training.
    """
    seen = table.rows(splits[0].part == 0)
    domain = domain_of(seen, recipe) if recipe.prototypes else None
    fitted = fit_networks(table, recipe, splits, checkpoints, report, domain=domain, lessons=lessons)
    both = [weights(f.best) for f in fitted], [weights(f.last) for f in fitted]
    if domain is not None:
        domain = replace(domain, distance=element_distance(role_table(recipe.settings, both[0]), domain.trained))
    about = card(recipe, seen)
    best, last = (Model(about, members, domain or structural_domain(about, members, seen)) for members in both)
    return Ensemble(best, last, _history(fitted))


def fit_networks(  # noqa: PLR0913  # what there is to fit
    table: TrainingTable,
    recipe: TrainRecipe,
    splits: Sequence[Split],
    checkpoints: Path,
    report: Callable[[int, EpochProgress], None],
    *,
    domain: Domain | None,
    lessons: TrainingTable | None = None,
    sets: bool = False,
) -> list[Fitted]:
    """Fit the networks of `fit_members`.

    Args:
        table: As for `fit_members`, like recipe, splits, checkpoints, report and lessons.
        recipe: What to train.
        splits: Splits of the table's rows.
        checkpoints: Folder of checkpoints.
        report: Called after every epoch.
        domain: Domain of the training part, for compositions.
        lessons: Compositions with labels from teachers.
        sets: Give each set of elements that shares a role a vector of its own, see `cgcnn.training.distil`.

    Raises:
        UserError: Training diverged, or a checkpoint is not one of this training.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    examples = Examples(inputs(table, recipe.settings, recipe.prototypes, domain), torch.from_numpy(table.targets))
    if (prices := prices_below(table, recipe)) is not None:
        examples = replace(examples, below=torch.from_numpy(prices))
    taught = None
    if lessons is not None:
        graphs = inputs(lessons, recipe.settings, recipe.prototypes, domain)
        taught = Examples(graphs, torch.from_numpy(lessons.targets))
    shares = torch.tensor([target.weight for target in recipe.targets])
    settings, features = recipe.settings, torch.from_numpy(element_features())
    network: Callable[[], CGCNN] = partial(CGCNN, settings, features)
    if sets:
        network = partial(grid_network, settings, features, shared_sets(examples.tensors))
    task = FitTask(network, recipe.fit, shares)
    fitted: list[Fitted] = []
    with one_thread() if recipe.prototypes else nullcontext():
        for i, split in enumerate(splits):
            own = examples.select(torch.from_numpy(split.rows("train")))
            parts = own if taught is None else _joined(own, taught), _part(examples, split, "validation")
            fitted.append(fit(task, parts, recipe.fit.seed + i, checkpoints / f"{i}.pt", partial(report, i)))
    return fitted


def structural_domain(card: Card, members: Sequence[Weights], table: TrainingTable) -> Likeness | None:
    """Fit what a model of structures saw in the rows of a table; None for compositions."""
    if table.graphs is None:
        return None
    return fit_likeness(fingerprint(table.graphs), Model(card, members[:1]).kernel.pooled(table.graphs))


def domain_of(seen: TrainingTable, recipe: TrainRecipe) -> Domain:
    """Fit the domain of the rows that a model is trained on, with ids and labels of the first target.

    Rows that only have other targets contribute to training and to the reference lattice, but do not count as
    compositions trained on. A label that was estimated from a computed upper bound counts as this bound.
    """
    whole = fit_domain(seen.by_prototype(recipe.prototypes), seen.lattices)
    own = seen.rows(~np.isnan(seen.targets[:, 0]))
    parts = own.by_prototype(recipe.prototypes)
    bound = np.zeros(len(own.ids), dtype=np.bool_) if own.bound is None else own.bound[:, 0]
    values = own.targets[:, 0]
    if own.computed is not None:
        values, bound = np.where(np.isnan(own.computed), values, own.computed), bound | ~np.isnan(own.computed)
    domain = replace(whole, trained=trained_on(parts), known=known_of(parts))
    return with_labels(domain, parts, values, bound, own.ids)


def prices_below(table: TrainingTable, recipe: TrainRecipe) -> NDArray[np.float32] | None:
    """Return (n, T) the cost of a prediction below a label, as a share of one above it; None without bounds."""
    if table.bound is None or table.shape is None:
        return None
    shares = np.array([[target.below_on(name) for target in recipe.targets] for name in recipe.prototypes])  # (P, T)
    return np.where(table.bound, shares[table.shape], 1.0).astype(np.float32)


def _part(examples: Examples, split: Split, name: str) -> Examples | None:
    rows = torch.from_numpy(split.rows(name))
    return examples.select(rows) if len(rows) else None


def _joined(own: Examples, taught: Examples) -> Examples:
    """Append examples whose labels are no bounds."""
    below = own.below
    if below is not None:
        below = torch.cat([below, torch.ones_like(taught.targets)])
    graphs = GraphBatch.concatenate([own.graphs, taught.graphs])
    return Examples(graphs, torch.cat([own.targets, taught.targets]), below)


def _history(fitted: Sequence[Fitted]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"member": i, "epoch": epoch, "loss": loss, "validation_loss": None if np.isnan(checked) else checked}
        for i, member in enumerate(fitted)
        for epoch, (loss, checked) in enumerate(member.history, 1)
    )


def card(recipe: TrainRecipe, table: TrainingTable) -> Card:
    """Make the card of a model that this recipe trains on the rows of a table."""
    numbers = [] if table.graphs is None else np.unique(table.graphs.numbers).tolist()
    return Card(
        name=recipe.name,
        summary=recipe.summary,
        input=recipe.input,
        prototypes=recipe.prototypes,
        elements=tuple(SYMBOLS[number] for number in numbers),
        targets=tuple(Target(name=t.name, unit=t.unit, description=t.description) for t in recipe.targets),
        label=recipe.label,
        hull=recipe.hull,
        source=recipe.source,
        data=recipe.data,
        split=recipe.split,
        training_size=len(table.targets),
        members=recipe.fit.members,
        peers=recipe.peers,
        weaknesses=recipe.weaknesses,
        recipe=recipe.retrain,
        licence=recipe.licence,
        settings=recipe.settings,
        version=__version__,
    )
