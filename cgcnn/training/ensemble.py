"""From labelled records and a recipe to a model: prepare, check on a held-out fold, fit on everything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn import __version__
from cgcnn.data import labels
from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason, group, species
from cgcnn.elements import SYMBOLS, element_features
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import Calibration, Card, Metric, Target
from cgcnn.models.domain import element_distance, fit_domain
from cgcnn.models.model import Model
from cgcnn.network.folded import element_table
from cgcnn.network.reference import weights as weights_of
from cgcnn.training.examples import Examples
from cgcnn.training.fit import Progress, Task, fit
from cgcnn.training.measure import calibrations, errors, outputs
from cgcnn.training.table import Table, inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.sample import Sample
    from cgcnn.network.folded import Weights
    from cgcnn.training.recipe import TrainRecipe

Report = Callable[[str, int, Progress], None]
"""Called with the stage, the member and its progress after every epoch."""


@dataclass(frozen=True)
class Prepared:
    """A table, and what of the data is in it.

    Attributes:
        table: The usable rows.
        samples: Their samples, in the table's order.
        failures: Position among all samples → reason.
    """

    table: Table
    samples: list[Sample]
    failures: dict[int, str]


@dataclass(frozen=True)
class Check:
    """What held-out rows say of a model; the fields are those of its card."""

    metrics: tuple[Metric, ...] = ()
    calibrations: tuple[Calibration, ...] = ()


def prepare(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder | None = None) -> Prepared:
    """Turn samples into a table; those that cannot be used are left out with a reason.

    Raises:
        UserError: A label is not a number, or no sample is usable or has a target.
    """
    settings, prototypes = recipe.settings, [PROTOTYPES[name] for name in recipe.prototypes]
    found: Sequence[CrystalGraph | Composition | str]
    if prototypes:
        found = [composition_or_reason(sample.labels, prototypes) for sample in samples]
    else:
        found = (builder or Builder(Rule.of(settings))).build(samples)
    failures = {i: reason for i, reason in enumerate(found) if isinstance(reason, str)}
    good = [sample for i, sample in enumerate(samples) if i not in failures]
    if not good:
        raise UserError(f"none of {len(samples)} crystals can be used; the first is {samples[0].id}: {failures[0]}")
    records = [sample.labels for sample in good]
    compositions = [row for row in found if isinstance(row, Composition)]
    fold = np.array([int(f) if (f := str(record.get("fold"))).isdigit() else -1 for record in records])
    if recipe.groups is not None:
        own = [group(row, prototypes, recipe.groups) for row in compositions]
        fold = np.where(fold < 0, own, fold)
    shapes = [prototypes[row.prototype] for row in compositions]
    targets = torch.from_numpy(labels.targets(records, settings.targets, shapes, settings.binary))
    if not prototypes:
        graphs = GraphBatch.of_graphs([graph for graph in found if isinstance(graph, CrystalGraph)])
        return Prepared(Table(targets, fold, graphs=graphs), good, failures)
    lattice = labels.targets(records, ["a"], shapes)[:, 0]
    shape = np.array([row.prototype for row in compositions], dtype=np.int8)
    table = Table(targets, fold, shape=shape, species=species(compositions, prototypes), lattice=lattice)
    return Prepared(table, good, failures)


def train(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Report) -> Model:
    """Fit the recipe's ensemble on every row, after an honest check on its validation fold.

    Args:
        table: From `prepare`.
        recipe: What to train.
        checkpoints: Folder that `claim` has prepared; what is there already is continued.
        report: Called after every epoch.

    Raises:
        UserError: The validation fold is empty or is everything, or training diverged.
    """
    check = Check()
    if recipe.validation_fold is not None:
        check = validate(table, recipe, checkpoints, report)
    model = ensemble(table, recipe, checkpoints / "all", partial(report, "all rows"))
    return Model(model.card.model_copy(update=vars(check)), model.members, model.domain)


def validate(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Report) -> Check:
    """How an ensemble that is fitted without the validation fold does on it."""
    held: NDArray[np.bool_] = table.fold == recipe.validation_fold
    if held.all() or not held.any():
        raise UserError(f"fold {recipe.validation_fold} holds {held.sum()} of {len(held)} rows; cannot validate on it")
    model = ensemble(table.rows(~held), recipe, checkpoints / "check", partial(report, "check"))
    rows, split = table.rows(held), f"fold {recipe.validation_fold}, by an ensemble fitted without it"
    predictions = outputs(model, rows)  # (members, n, T)
    found = list(errors(model, rows, predictions, split))
    if rows.shape is not None and len(recipe.prototypes) > 1:
        for position, name in enumerate(recipe.prototypes):
            mine = rows.shape == position
            found += errors(model, rows.rows(mine), predictions[:, mine], f"{name} rows of {split}")
    return Check(tuple(found), calibrations(model, rows, predictions, split))


def ensemble(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Callable[[int, Progress], None]) -> Model:
    """Fit every member on all rows of the table."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    weights = torch.tensor([target.weight for target in recipe.targets])
    task = Task(recipe.settings, recipe.fit, weights, torch.from_numpy(element_features()))
    domain = fit_domain(table.by_prototype(recipe.prototypes), table.lattices) if recipe.prototypes else None
    examples = Examples(inputs(table, recipe.settings, recipe.prototypes, domain), table.targets)
    members: list[Weights] = []
    for i in range(recipe.fit.members):
        file = checkpoints / f"{i}.pt"
        members.append(weights_of(fit(task, examples, recipe.fit.seed + i, file, partial(report, i))))
    if domain is not None:
        domain = replace(domain, distance=element_distance(element_table(members), domain.trained))
    return Model(card(recipe, table), members, domain)


def card(recipe: TrainRecipe, table: Table) -> Card:
    """The card of a model that this recipe makes from the rows of a table."""
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


def claim(checkpoints: Path, table: Table, recipe: TrainRecipe, *, resume: bool, also: bytes = b"") -> None:
    """Prepare the checkpoint folder for this very training.

    Raises:
        UserError: Another training's checkpoints are there, or this one's and ``resume`` is false.
    """
    mark, own = checkpoints / "identity", identity(table, recipe, also)
    if mark.exists() and not resume:
        raise UserError(f"{checkpoints}: holds an unfinished training; pass --resume, or delete the folder")
    if mark.exists() and mark.read_text(encoding="utf-8") != own:
        raise UserError(f"{checkpoints}: made from other data or another recipe; use those, or delete the folder")
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{checkpoints}: cannot be written ({error.strerror}); choose another output") from None
    write_whole(mark, own)


def identity(table: Table, recipe: TrainRecipe, also: bytes = b"") -> str:
    """Sha256 over the table, ``also``, and what of the recipe decides the weights; the texts of the card do not."""
    decisive = {"input", "prototypes", "validation_fold", "network", "fit", "targets"}
    sha = hashlib.sha256(recipe.model_dump_json(include=decisive).encode())
    sha.update(also)
    arrays = [table.targets.numpy(), table.fold, table.shape, table.species, table.lattice]
    graphs = [] if table.graphs is None else [np.frombuffer(table.graphs.to_bytes(), dtype=np.uint8)]
    for array in [*arrays, *graphs]:
        if array is not None:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
