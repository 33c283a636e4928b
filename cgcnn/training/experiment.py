"""Training on a part of the rows and measuring on the rest: one split, or k folds with a member each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cgcnn.elements import element_features
from cgcnn.errors import UserError
from cgcnn.files import write_csv, write_whole
from cgcnn.inference.metrics import figures
from cgcnn.models.card import Metric
from cgcnn.models.domain import element_distance, fit_domain
from cgcnn.models.model import Model
from cgcnn.network.folded import element_table
from cgcnn.network.reference import weights
from cgcnn.training.ensemble import card
from cgcnn.training.examples import Examples
from cgcnn.training.fit import Fitted, Task, fit_validated
from cgcnn.training.measure import calibrations, outputs
from cgcnn.training.split import PARTS
from cgcnn.training.table import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.models.card import Calibration
    from cgcnn.training.ensemble import Report
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.split import Split
    from cgcnn.training.table import Table

_PLAIN = {"R2", "accuracy", "precision", "recall", "F1", "AUC"}  # without a unit


@dataclass(frozen=True)
class Study:
    """What training on splits came to.

    Attributes:
        best: Members at their epochs of lowest validation loss; its card holds the figures of the test part, and
            calibrated deviations.
        last: Members after their last epochs.
        metrics: Figures of every part that has labels; with k folds only of the test part.
        part: (n,) int8, see `Split.part`; with k folds, rows that were measured are in the test part.
        prediction: (n, T) float32 by the best members; with k folds, by the member that did not see the row.
        history: Rows with member, epoch, loss and validation loss.
    """

    best: Model
    last: Model
    metrics: tuple[Metric, ...]
    part: NDArray[np.int8]
    prediction: NDArray[np.float32]
    history: tuple[dict[str, Any], ...]


def run(table: Table, recipe: TrainRecipe, splits: Sequence[Split], checkpoints: Path, report: Report) -> Study:
    """Train on splits.

    One split: the recipe's members, all on its training part. Several: one member a split; every row is measured by the
    member whose test part it is in.

    Args:
        table: From `cgcnn.training.ensemble.prepare`.
        recipe: What to train.
        splits: Of the table's rows.
        checkpoints: Folder that `cgcnn.training.ensemble.claim` has prepared; what is there already is continued.
        report: Called after every epoch.

    Raises:
        UserError: Folds of compositions (their input depends on the training part), or training diverged.
    """
    if len(splits) > 1 and recipe.prototypes:
        raise UserError(f"recipe {recipe.name}: folds are for structure input; pass --split or --fold-column")
    per_split = recipe.fit.members if len(splits) == 1 else 1
    recipe = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"members": per_split * len(splits)})})
    training = splits[0].part == 0
    seen = table.rows(training)
    domain = fit_domain(seen.by_prototype(recipe.prototypes), seen.lattices) if recipe.prototypes else None
    graphs = inputs(table, recipe.settings, recipe.prototypes, domain)
    task = Task(
        recipe.settings,
        recipe.fit,
        torch.tensor([t.weight for t in recipe.targets]),
        torch.from_numpy(element_features()),
    )
    fitted: list[Fitted] = []
    for i in range(recipe.fit.members):
        split = splits[i // per_split]
        train, validation = (_examples(Examples(graphs, table.targets), split, name) for name in PARTS[:2])
        if train is None:
            raise UserError(f"no training rows ({split.text})")
        file, seed = checkpoints / f"{i}.pt", recipe.fit.seed + i
        fitted.append(fit_validated(task, (train, validation), seed, file, partial(report, "training", i)))
    members = {which: [weights(getattr(f, which)) for f in fitted] for which in ("best", "last")}
    if domain is not None:
        domain = replace(domain, distance=element_distance(element_table(members["best"]), domain.trained))
    base = card(recipe, seen).model_copy(update={"split": splits[0].text})
    best, last = (Model(base, members[which], domain) for which in ("best", "last"))
    by_member = outputs(best, table)  # (members, n, T)
    part, prediction = _measured(by_member, splits)
    metrics = measure(best, part, prediction, table.targets.numpy(), splits[0].text)
    tested = tuple(metric for metric in metrics if metric.split.startswith("test"))
    said = {"metrics": tested, "calibrations": _calibrated(best, table, splits, by_member)}
    best = Model(best.card.model_copy(update=said), best.members, domain)
    return Study(best, last, metrics, part, prediction, _history(fitted))


def _examples(examples: Examples, split: Split, name: str) -> Examples | None:
    rows = torch.from_numpy(split.rows(name))
    return examples.select(rows) if len(rows) else None


def _calibrated(
    model: Model, table: Table, splits: Sequence[Split], by_member: NDArray[np.float32]
) -> tuple[Calibration, ...]:
    """From the validation part, which chose the epochs; none with k folds, whose members saw different rows."""
    held = splits[0].part == PARTS.index("validation")
    if len(splits) > 1 or not held.any():
        return ()
    return calibrations(model, table.rows(held), by_member[:, held], f"validation part ({splits[0].text})")


def _measured(by_member: NDArray[np.float32], splits: Sequence[Split]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The part of each row, and its prediction by the members that it measures, of the outputs (members, n, T)."""
    if len(splits) == 1:
        return splits[0].part, by_member.mean(axis=0)
    held = np.array([split.part == 2 for split in splits])  # (k, n)
    part = np.where(held.any(axis=0), 2, -1).astype(np.int8)
    return part, by_member[held.argmax(axis=0), np.arange(held.shape[1])]


def measure(
    model: Model, part: NDArray[np.int8], prediction: NDArray[np.float32], label: NDArray[np.float32], text: str
) -> tuple[Metric, ...]:
    """Figures of every target on every part that has labels; those that are not defined are left out."""
    found = []
    for i, name in enumerate(PARTS):
        for j, target in enumerate(model.card.targets):
            rows = (part == i) & ~np.isnan(label[:, j])
            if not rows.any():
                continue
            binary = target.name in model.settings.binary
            for metric, value in figures(prediction[rows, j], label[rows, j], binary=binary).items():
                unit = "" if metric in _PLAIN else target.unit
                split = f"{name} part, {rows.sum()} rows ({text})"
                kind = model.card.input
                found.append(Metric(metric=metric, target=target.name, value=value, unit=unit, split=split, input=kind))
    return tuple(metric for metric in found if math.isfinite(metric.value))


def _history(fitted: Sequence[Fitted]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"member": i, "epoch": epoch, "loss": loss, "validation_loss": None if math.isnan(checked) else checked}
        for i, member in enumerate(fitted)
        for epoch, (loss, checked) in enumerate(member.history, 1)
    )


def write(study: Study, table_ids: Sequence[str], targets: NDArray[np.float32], output: Path) -> list[Path]:
    """Write what there is besides the weights.

    Figures go to ``OUTPUT.metrics.json`` and ``.csv``, test rows with their predictions to ``OUTPUT.test.csv``, losses
    of every epoch to ``OUTPUT.history.csv``.

    Returns:
        The files.

    Raises:
        UserError: A file cannot be written.
    """
    names = study.best.settings.targets
    files = [output.with_suffix(end) for end in (".metrics.json", ".metrics.csv", ".test.csv", ".history.csv")]
    metrics = [metric.model_dump() for metric in study.metrics]
    sizes = {name: int((study.part == i).sum()) for i, name in enumerate(PARTS)}
    content = {"model": study.best.card.name, "digest": study.best.digest, "rows": sizes, "metrics": metrics}
    test = np.flatnonzero(study.part == 2).tolist()
    columns = ["id", *(f"{name}{end}" for name in names for end in ("", "_prediction"))]
    rows = [
        [table_ids[i], *(_text(v) for pair in zip(targets[i], study.prediction[i], strict=True) for v in pair)]
        for i in test
    ]
    write_whole(files[0], json.dumps(content, indent=2) + "\n")
    write_csv(files[1], list(Metric.model_fields), [list(metric.values()) for metric in metrics])
    write_csv(files[2], columns, rows)
    write_csv(files[3], list(study.history[0]), [list(row.values()) for row in study.history])
    return files


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
