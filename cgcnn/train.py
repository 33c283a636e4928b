"""From labelled records and a recipe to a model: prepare, check on a held-out fold, fit on everything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn import __version__, data, labels
from cgcnn.batch import Examples, from_graphs
from cgcnn.calibration import fit_calibration
from cgcnn.card import Calibration, Card, Metric, Target
from cgcnn.elements import MAX_Z, element_features
from cgcnn.entry import from_record
from cgcnn.errors import UserError
from cgcnn.fit import Progress, Task, fit
from cgcnn.graphs import Builder, Rule
from cgcnn.metrics import figures
from cgcnn.prototype import PROTOTYPES, Prototype
from cgcnn.table import Table, inputs
from cgcnn.weights import Domain, Model, composition_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from cgcnn.entry import Entry
    from cgcnn.model import CGCNN
    from cgcnn.recipe import TrainRecipe

ROWS_AT_ONCE = 512  # predicted together; bounds memory
RIDGE = 1.0  # penalty of the reference lattice's coefficients; features are of order 1
Report = Callable[[str, int, Progress], None]
"""Called with the stage, the member and its progress after every epoch."""


@dataclass(frozen=True)
class Prepared:
    """A table, and what of the data is in it.

    Attributes:
        table: The usable rows.
        entries: Their entries, in the table's order.
        failures: Position among all entries → reason.
    """

    table: Table
    entries: list[Entry]
    failures: dict[int, str]


@dataclass(frozen=True)
class Check:
    """What held-out rows say of a model; the fields are those of its card."""

    metrics: tuple[Metric, ...] = ()
    calibrations: tuple[Calibration, ...] = ()


def prepare_entries(entries: Sequence[Entry], recipe: TrainRecipe, builder: Builder | None = None) -> Prepared:
    """Turn entries into a table; those that cannot be used are left out with a reason.

    Raises:
        UserError: A label is not a number, or no entry is usable or has a target.
    """
    prototype = PROTOTYPES[recipe.prototype] if recipe.prototype else None
    if prototype is None:
        built = (builder or Builder(Rule.of(recipe.settings))).build(entries)
        failures = {i: graph for i, graph in enumerate(built) if isinstance(graph, str)}
    else:
        failures = {i: why for i, entry in enumerate(entries) if (why := data.site_problem(entry.labels, prototype))}
    good = [entry for i, entry in enumerate(entries) if i not in failures]
    if not good:
        raise UserError(f"none of {len(entries)} crystals can be used; the first is {entries[0].id}: {failures[0]}")
    records = [entry.labels for entry in good]
    targets = labels.targets(records, recipe.settings.targets, prototype, recipe.settings.binary)
    fold = np.array([int(f) if (f := str(record.get("fold"))).isdigit() else -1 for record in records])
    if prototype is None:
        graphs = from_graphs([graph for graph in built if not isinstance(graph, str)])
        return Prepared(Table(targets, fold, graphs=graphs), good, failures)
    lattice = labels.targets(records, ["a"], prototype)[:, 0].numpy()
    table = Table(targets, fold, species=data.species(records, prototype), lattice=lattice)
    return Prepared(table, good, failures)


def prepare(records: Sequence[data.Record], recipe: TrainRecipe) -> Table:
    """Turn records, all of which must be usable, into a table.

    Raises:
        UserError: A record lacks what the recipe's input kind needs, or no record has a target.
    """
    prepared = prepare_entries([from_record(record, i) for i, record in enumerate(records)], recipe)
    for i, reason in prepared.failures.items():
        raise UserError(f"record {data.record_id(records[i], i)}: {reason}")
    return prepared.table


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
    held = table.fold == recipe.validation_fold
    if held.all() or not held.any():
        raise UserError(f"fold {recipe.validation_fold} holds {held.sum()} of {len(held)} rows; cannot validate on it")
    model = ensemble(table.rows(~held), recipe, checkpoints / "check", partial(report, "check"))
    rows, split = table.rows(held), f"fold {recipe.validation_fold}, by an ensemble fitted without it"
    return Check(errors(model, rows, split), calibrations(model, rows, split))


def calibrations(model: Model, table: Table, split: str) -> tuple[Calibration, ...]:
    """How the spread of an ensemble has to grow to hold on labelled rows that it has not seen, for every number."""
    if len(model.members) < 2:
        return ()
    predictions, labels = outputs(model, table).numpy(), table.targets.numpy()  # (members, n, T), (n, T)
    found = []
    for j, name in enumerate(model.settings.targets):
        known = ~np.isnan(labels[:, j])
        if known.any() and name not in model.settings.binary:
            error = predictions[:, known, j].mean(axis=0) - labels[known, j]
            scale, floor = fit_calibration(error, predictions[:, known, j].std(axis=0))
            found.append(Calibration(target=name, scale=scale, floor=floor, split=split))
    return tuple(found)


def ensemble(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Callable[[int, Progress], None]) -> Model:
    """Fit every member on all rows of the table."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    weights = torch.tensor([target.weight for target in recipe.targets])
    task = Task(recipe.settings, recipe.fit, weights, torch.from_numpy(element_features()))
    domain = None if recipe.prototype is None else fit_domain(table, PROTOTYPES[recipe.prototype])
    examples = Examples(inputs(table, recipe.settings, recipe.prototype, domain), table.targets)
    members: list[CGCNN] = []
    for i in range(recipe.fit.members):
        file = checkpoints / f"{i}.pt"
        members.append(fit(task, examples, recipe.fit.seed + i, file, partial(report, i)))
    return Model(card(recipe, len(table.targets)), members, domain)


def fit_domain(table: Table, prototype: Prototype) -> Domain:
    """What the rows hold, and a reference lattice by ridge regression on the element features of each role.

    Raises:
        UserError: No row has a lattice constant.
    """
    species, a = table.species, table.lattice
    if species is None or a is None:
        raise ValueError("a domain is that of compositions")
    known = ~np.isnan(a)
    features = element_features().astype(np.float64)  # (101, F)
    roles = prototype.role_index
    means = [features[species[known][:, roles == r]].mean(axis=1) for r in range(len(prototype.role_names))]
    design = np.hstack(means)  # (n, R * F)
    centre = design.mean(axis=0)
    gram = (design - centre).T @ (design - centre) + RIDGE * np.eye(len(centre))
    coefficients = np.linalg.solve(gram, (design - centre).T @ (a[known] - a[known].mean()))
    offset = (a[known].mean() - centre @ coefficients) / len(means)
    lattice = features @ coefficients.reshape(len(means), -1).T + offset  # (101, R)
    trained = np.zeros((len(means), MAX_Z + 1), dtype=np.bool_)
    trained[roles, species] = True
    return Domain(
        trained=trained,
        known=np.unique(composition_keys(species)),
        lattice=lattice.T.astype(np.float32).copy(),
        lattice_range=np.array([a[known].min(), a[known].max()], dtype=np.float32),
    )


def errors(model: Model, table: Table, split: str) -> tuple[Metric, ...]:
    """Figures on labelled rows: of the ensemble for every target, and of single members for the first.

    They are the mean absolute error of a number, AUC and accuracy of a binary target.
    """
    predictions = outputs(model, table).numpy()  # (members, n, T)
    labels = table.targets.numpy()  # (n, T)
    found: list[Metric] = []
    for j, target in enumerate(model.card.targets):
        binary = target.name in model.settings.binary
        known = ~np.isnan(labels[:, j])
        who = [("", predictions.mean(axis=0)[None])] + ([(", one member", predictions)] if j == 0 else [])
        for name, (text, parts) in product(["AUC", "accuracy"] if binary else ["MAE"], who):
            values = [figures(p[known, j], labels[known, j], binary=binary)[name] for p in parts]
            unit = "" if binary else target.unit
            metric = Metric(
                metric=name + text,
                target=target.name,
                value=float(np.mean(values)),
                unit=unit,
                split=split,
                input=model.card.input,
            )
            found.append(metric)
    return tuple(metric for metric in found if np.isfinite(metric.value))


@torch.inference_mode()
def outputs(model: Model, table: Table) -> Tensor:
    """What each member says of each row, (members, n, T) in the targets' units, from batches of bounded size."""
    batch = inputs(table, model.settings, model.card.prototype, model.domain)
    parts = [batch.select(rows) for rows in torch.split(torch.arange(batch.n_graphs), ROWS_AT_ONCE)]
    return torch.stack([torch.cat([member(part) for part in parts]) for member in model.members])


def card(recipe: TrainRecipe, training_size: int) -> Card:
    """The card of a model that this recipe makes."""
    return Card(
        name=recipe.name,
        summary=recipe.summary,
        input=recipe.input,
        prototype=recipe.prototype,
        targets=tuple(Target(name=t.name, unit=t.unit, description=t.description) for t in recipe.targets),
        label=recipe.label,
        hull=recipe.hull,
        data=recipe.data,
        split=recipe.split,
        training_size=training_size,
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
        mark.write_text(own, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{checkpoints}: cannot be written ({error.strerror}); choose another output") from None


def identity(table: Table, recipe: TrainRecipe, also: bytes = b"") -> str:
    """Sha256 over the table, ``also``, and what of the recipe decides the weights; the texts of the card do not."""
    decisive = {"input", "prototype", "validation_fold", "network", "fit", "targets"}
    sha = hashlib.sha256(recipe.model_dump_json(include=decisive).encode())
    sha.update(also)
    arrays = [table.targets.numpy(), table.fold, table.species, table.lattice]
    graphs = [] if table.graphs is None else [v.numpy() for v in vars(table.graphs).values() if torch.is_tensor(v)]
    for array in [*arrays, *graphs]:
        if array is not None:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
