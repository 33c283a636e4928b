"""The three ways to train and to measure: a check and then all rows, one split, or k folds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.models.model import Model
from cgcnn.training.distil import expected, rest_of_grid
from cgcnn.training.fit import answers
from cgcnn.training.measure import Unseen, calibrations, figures_of, figures_of_parts, odds, outputs
from cgcnn.training.members import domain_of, fit_members, fit_networks
from cgcnn.training.results import Trained
from cgcnn.training.split import PARTS, Split, everything
from cgcnn.training.table import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.models.card import Calibration, Metric, Odds
    from cgcnn.training.members import Ensemble, Report
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.table import Table


def train(table: Table, recipe: TrainRecipe, splits: Sequence[Split], checkpoints: Path, report: Report) -> Trained:
    """Train by the protocol that the splits ask for.

    Args:
        table: From `cgcnn.training.table.prepare`.
        recipe: What to train.
        splits: None for a check on the recipe's validation fold and then all rows; one; or several, of k folds.
        checkpoints: Folder that `cgcnn.training.checkpoints.claim` has prepared; what is there already is continued.
        report: Called after every epoch.

    Raises:
        UserError: The rows do not fit the recipe, or training diverged.
    """
    if not splits:
        return on_all(table, recipe, checkpoints, report)
    if len(splits) == 1:
        return on_split(table, recipe, splits[0], checkpoints, report)
    return on_folds(table, recipe, splits, checkpoints, report)


def on_all(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Report) -> Trained:
    """Fit the members on every row, after an honest check of the recipe on its validation folds, if it has some.

    Raises:
        UserError: A validation fold is empty or is everything, or training diverged.
    """
    metrics: tuple[Metric, ...] = ()
    calibrated: tuple[Calibration, ...] = ()
    told: tuple[Odds, ...] = ()
    if recipe.validation_folds:
        unseen, text = check(table, recipe, checkpoints / "check", report)
        metrics, calibrated = figures_of_parts(unseen, text), calibrations(unseen, text)
        told = odds(recipe.settings, unseen.table.targets, unseen.predictions, text)
    split = everything(len(table.ids))
    ensemble = fit_taught(table, recipe, split, checkpoints / "all", ("all rows", report))
    prediction = outputs(ensemble.best, table).mean(axis=0)
    best = _with_card(ensemble.best, metrics=metrics, calibrations=calibrated, odds=told)
    return Trained(best, None, metrics, table, split.part, prediction, ensemble.history)


def check(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Report) -> tuple[Unseen, str]:
    """What ensembles say of the validation folds, each fitted without one of them.

    Returns:
        The rows of these folds, and which they are, for the card.

    Raises:
        UserError: A fold is empty or is everything, or training diverged.
    """
    models = without_folds(table, recipe, checkpoints, report)
    several = len(models) > 1
    which = f"{'folds' if several else 'fold'} {', '.join(map(str, models))}"
    text = f"{which}, {'each ' if several else ''}by an ensemble fitted without it"
    return Unseen.in_turn(list(models.values()), table, [table.fold == fold for fold in models]), text


def without_folds(table: Table, recipe: TrainRecipe, checkpoints: Path, report: Report) -> dict[int, Model]:
    """Validation fold → an ensemble that is fitted without it.

    Raises:
        UserError: A fold is empty or is everything, or training diverged.
    """
    models = {}
    for fold in recipe.validation_folds:
        held: NDArray[np.bool_] = table.fold == fold
        if held.all() or not held.any():
            raise UserError(f"fold {fold} holds {held.sum()} of {len(held)} rows; cannot validate on it")
        split = Split(np.where(held, -1, 0).astype(np.int8), f"all but fold {fold}")
        stage = "check" if len(recipe.validation_folds) == 1 else f"check, fold {fold}"
        models[fold] = fit_taught(table, recipe, split, checkpoints / str(fold), (stage, report)).best
    return models


def fit_taught(
    table: Table, recipe: TrainRecipe, split: Split, checkpoints: Path, report: tuple[str, Report]
) -> Ensemble:
    """Fit the members on the training part of a split; before them their teachers, if the recipe has some.

    The teachers see the same rows, and say what they expect of the rest of the grid that these span; if there is no
    rest, there are none.

    Args:
        table: From `cgcnn.training.table.prepare`.
        recipe: What to train.
        split: Of the table's rows.
        checkpoints: Folder; what is there already is continued.
        report: The stage, and what is called with it after every epoch.

    Raises:
        UserError: Training diverged, or a checkpoint is not one of this training.
    """
    stage, call = report
    lessons = lessons_of(table, recipe, split, checkpoints, report) if recipe.teachers else None
    splits = [split] * recipe.fit.members
    return fit_members(table, recipe, splits, checkpoints, partial(call, stage), lessons=lessons)


def lessons_of(
    table: Table, recipe: TrainRecipe, split: Split, checkpoints: Path, report: tuple[str, Report]
) -> Table | None:
    """What the teachers of a recipe expect of the rest of the grid, as `fit_taught` has it; None without a rest."""
    stage, call = report
    seen = table.rows(split.part == 0)
    lessons, domain = rest_of_grid(seen, recipe.prototypes), domain_of(seen, recipe)
    if not lessons.ids:
        return None
    said = []
    for i, (teacher, own) in enumerate(zip(recipe.of_teachers(), recipe.teachers, strict=True)):
        told, splits = partial(call, f"{stage}, teachers {i + 1}"), [split] * teacher.fit.members
        folder = checkpoints / f"teachers-{i}"
        fitted = fit_networks(table, teacher, splits, folder, told, domain=domain, sets=own.sets)
        graphs = inputs(lessons, teacher.settings, teacher.prototypes, domain)
        said += [answers(found.best, graphs).numpy() for found in fitted]
    return replace(lessons, targets=expected(np.stack(said), recipe.settings))


def on_split(table: Table, recipe: TrainRecipe, split: Split, checkpoints: Path, report: Report) -> Trained:
    """Fit the members on the training part of a split.

    The deviations are calibrated on its validation part, which chose the epochs.
    """
    ensemble = fit_taught(table, recipe, split, checkpoints, ("training", report))
    by_member = outputs(ensemble.best, table)  # (members, n, T)
    held = split.part == PARTS.index("validation")
    calibrated: tuple[Calibration, ...] = ()
    if held.any():
        calibrated = calibrations(Unseen.of(ensemble.best, table.rows(held)), f"validation part ({split.text})")
    return _measured(ensemble, table, split.part, by_member, (split.text, calibrated))


def on_folds(table: Table, recipe: TrainRecipe, splits: Sequence[Split], checkpoints: Path, report: Report) -> Trained:
    """Fit a member for each of k folds; every row is measured by the one whose test part it is in.

    Raises:
        UserError: The rows are compositions, whose input depends on the training part; or training diverged.
    """
    if recipe.prototypes:
        raise UserError(f"recipe {recipe.name}: folds are for structure input; pass `split` or `fold_column`")
    ensemble = fit_members(table, recipe, splits, checkpoints, partial(report, "training"))
    by_member = outputs(ensemble.best, table)  # (k, n, T)
    held = np.array([split.part == PARTS.index("test") for split in splits])  # (k, n)
    part = np.where(held.any(axis=0), PARTS.index("test"), -1).astype(np.int8)
    unseen = by_member[held.argmax(axis=0), np.arange(held.shape[1])][None]  # (1, n, T)
    return _measured(ensemble, table, part, unseen, (splits[0].text, ()))


def _measured(
    ensemble: Ensemble,
    table: Table,
    part: NDArray[np.int8],
    predictions: NDArray[np.float32],
    said: tuple[str, tuple[Calibration, ...]],
) -> Trained:
    """The training with the figures of its parts, from predictions (members, n, T)."""
    (text, calibrated), labels, best = said, table.targets, ensemble.best
    by_part = {}
    for i, name in enumerate(PARTS):
        rows = part == i
        by_part[name] = figures_of(best, predictions[:, rows], labels[rows], f"{name} part", f" ({text})")
    metrics = tuple(metric for found in by_part.values() for metric in found)
    best = _with_card(best, split=text, metrics=by_part["test"], calibrations=calibrated)
    last = _with_card(ensemble.last, split=text)
    return Trained(best, last, metrics, table, part, predictions.mean(axis=0), ensemble.history)


def _with_card(model: Model, **said: object) -> Model:
    return Model(model.card.model_copy(update=said), model.members, model.domain)
