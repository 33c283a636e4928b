"""Train a model on labelled crystals: by a check and then all rows, one split, or k folds."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.data.samples import Sample, from_record
from cgcnn.errors import UserError
from cgcnn.files import with_end, write_csv, write_whole
from cgcnn.machine import cores
from cgcnn.models.card import Metric
from cgcnn.models.files import save
from cgcnn.models.model import Model
from cgcnn.training.data import PARTS, Division, Split, choose_recipe, everything, inputs, prepare, read_samples
from cgcnn.training.distil import expected, rest_of_grid
from cgcnn.training.fit import answers, claim
from cgcnn.training.measure import Unseen, calibrations, figures_of, figures_of_parts, odds, outputs
from cgcnn.training.members import domain_of, fit_members, fit_networks
from cgcnn.training.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.models.card import Calibration, Card, Odds
    from cgcnn.training.data import TrainingTable
    from cgcnn.training.members import Ensemble, Report
    from cgcnn.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        best: The model: members at their epochs of lowest validation loss. Its card holds the figures on held-out rows.
        last: Members after their last epochs; None if the model was trained on all rows.
        metrics: Figures of every labelled part; of the test part with k folds, of the held-out folds after a check.
        table: The rows.
        part: (n,) int8, see `Split.part`; with k folds, measured rows are in the test part.
        prediction: (n, T) float32 by the best members; with k folds, by the member that did not see the row.
        history: Rows with member, epoch, loss and validation loss.
    """

    best: Model
    last: Model | None
    metrics: tuple[Metric, ...]
    table: TrainingTable
    part: NDArray[np.int8]
    prediction: NDArray[np.float32]
    history: tuple[dict[str, Any], ...]

    @property
    def card(self) -> Card:
        """The card of the model."""
        return self.best.card

    def save(self, path: str | Path) -> list[Path]:
        """Write the model, its figures, test rows and losses.

        The best model goes to ``PATH.safetensors`` and ``.json``, the last to ``PATH-last``; figures to
        ``PATH.metrics.json`` and ``.csv``, test rows with predictions to ``PATH.test.csv``, losses of every epoch to
        ``PATH.history.csv``. A model trained on all rows is written alone.

        Returns:
            The files; the model is the first.

        Raises:
            UserError: A file cannot be written.
        """
        output = Path(path)
        if self.last is None:
            return [save(self.best, output)]
        last = save(self.last, with_end(output, "-last"))
        files = [with_end(output, end) for end in (".metrics.json", ".metrics.csv", ".test.csv", ".history.csv")]
        metrics = [metric.model_dump() for metric in self.metrics]
        sizes = {name: int((self.part == i).sum()) for i, name in enumerate(PARTS)}
        content = {"model": self.card.name, "digest": self.best.digest, "rows": sizes, "metrics": metrics}
        write_whole(files[0], json.dumps(content, indent=2) + "\n")
        write_csv(files[1], list(Metric.model_fields), [list(metric.values()) for metric in metrics])
        write_csv(files[2], *_test_rows(self))
        write_csv(files[3], list(self.history[0]), [list(row.values()) for row in self.history])
        return [save(self.best, output), last, *files]


def _test_rows(trained: Trained) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the test part: ids, and for each target the label and the prediction."""
    columns = ["id", *(f"{name}{end}" for name in trained.best.settings.targets for end in ("", "_prediction"))]
    labels, ids = trained.table.targets, trained.table.ids
    rows = [
        [ids[i], *(_text(v) for pair in zip(labels[i], trained.prediction[i], strict=True) for v in pair)]
        for i in np.flatnonzero(trained.part == PARTS.index("test")).tolist()
    ]
    return columns, rows


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"


def train_table(
    table: TrainingTable, recipe: TrainRecipe, splits: Sequence[Split], checkpoints: Path, report: Report
) -> Trained:
    """Train by the protocol that the splits select.

    Args:
        table: Table from `cgcnn.training.data.prepare`.
        recipe: What to train.
        splits: No split for a check on the recipe's validation folds and then all rows; one split; or k folds.
        checkpoints: Folder prepared by `cgcnn.training.fit.claim`; checkpoints found there are resumed.
        report: Called after every epoch.

    Raises:
        UserError: The rows do not fit the recipe, or training diverged.
    """
    if not splits:
        return on_all(table, recipe, checkpoints, report)
    if len(splits) == 1:
        return on_split(table, recipe, splits[0], checkpoints, report)
    return on_folds(table, recipe, splits, checkpoints, report)


def on_all(table: TrainingTable, recipe: TrainRecipe, checkpoints: Path, report: Report) -> Trained:
    """Fit the members on every row, after a check on the recipe's validation folds, if it has some.

    Raises:
        UserError: A validation fold is empty or holds every row, or training diverged.
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


def check(table: TrainingTable, recipe: TrainRecipe, checkpoints: Path, report: Report) -> tuple[Unseen, str]:
    """Predict each validation fold by an ensemble fitted without it.

    Returns:
        The rows of these folds with predictions, and their description for the card.

    Raises:
        UserError: A fold is empty or holds every row, or training diverged.
    """
    models = without_folds(table, recipe, checkpoints, report)
    several = len(models) > 1
    which = f"{'folds' if several else 'fold'} {', '.join(map(str, models))}"
    text = f"{which}, {'each ' if several else ''}by an ensemble fitted without it"
    return Unseen.in_turn(list(models.values()), table, [table.fold == fold for fold in models]), text


def without_folds(table: TrainingTable, recipe: TrainRecipe, checkpoints: Path, report: Report) -> dict[int, Model]:
    """Fit an ensemble without each validation fold; return fold → ensemble.

    Raises:
        UserError: A fold is empty or holds every row, or training diverged.
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
    table: TrainingTable, recipe: TrainRecipe, split: Split, checkpoints: Path, report: tuple[str, Report]
) -> Ensemble:
    """Fit the members on the training part of a split, after their teachers if the recipe has some.

    The teachers see the same rows and predict the rest of the grid that these span; without a rest, there are no
    teachers.

    Args:
        table: Table from `cgcnn.training.data.prepare`.
        recipe: What to train.
        split: Split of the table's rows.
        checkpoints: Folder of checkpoints; checkpoints found there are resumed.
        report: The stage, and the function called with it after every epoch.

    Raises:
        UserError: Training diverged, or a checkpoint is not one of this training.
    """
    stage, call = report
    lessons = lessons_of(table, recipe, split, checkpoints, report) if recipe.teachers else None
    splits = [split] * recipe.fit.members
    return fit_members(table, recipe, splits, checkpoints, partial(call, stage), lessons=lessons)


def lessons_of(
    table: TrainingTable, recipe: TrainRecipe, split: Split, checkpoints: Path, report: tuple[str, Report]
) -> TrainingTable | None:
    """Fit the teachers and predict the rest of the grid, as for `fit_taught`; None without a rest."""
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


def on_split(table: TrainingTable, recipe: TrainRecipe, split: Split, checkpoints: Path, report: Report) -> Trained:
    """Fit the members on the training part of a split.

    The standard deviations are calibrated on the validation part, which also chose the epochs.
    """
    ensemble = fit_taught(table, recipe, split, checkpoints, ("training", report))
    by_member = outputs(ensemble.best, table)  # (members, n, T)
    held = split.part == PARTS.index("validation")
    calibrated: tuple[Calibration, ...] = ()
    if held.any():
        calibrated = calibrations(Unseen.of(ensemble.best, table.rows(held)), f"validation part ({split.text})")
    return _measured(ensemble, table, split.part, by_member, (split.text, calibrated))


def on_folds(
    table: TrainingTable, recipe: TrainRecipe, splits: Sequence[Split], checkpoints: Path, report: Report
) -> Trained:
    """Fit a member for each of k folds; each row is measured by the member that has it in its test part.

    Raises:
        UserError: The rows are compositions, whose input depends on the training part, or training diverged.
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
    table: TrainingTable,
    part: NDArray[np.int8],
    predictions: NDArray[np.float32],
    said: tuple[str, tuple[Calibration, ...]],
) -> Trained:
    """Measure the parts of a training from predictions (members, n, T)."""
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


class FitChanges(TypedDict, total=False):
    """Changes to the `[fit]` section of a recipe; None keeps a setting.

    Attributes:
        epochs: Number of epochs.
        patience: Epochs without a lower validation loss after which to stop.
        members: Number of members.
        seed: Seed of the split and the first member; later members use seed+1, seed+2, …
    """

    epochs: int | None
    patience: int | None
    members: int | None
    seed: int | None


def train(  # noqa: PLR0913  # settings, by name
    data: str | Path | Iterable[Mapping[str, Any]],
    target: str | Iterable[str] = (),
    *,
    recipe: TrainRecipe | str | Path | None = None,
    binary: str | Iterable[str] = (),
    division: Division | None = None,
    workers: int | None = None,
    cache: str | Path | None = None,
    checkpoints: str | Path | None = None,
    progress: Report = lambda _stage, _member, _progress: None,
    **fit: Unpack[FitChanges],
) -> Trained:
    """Train a model on labelled crystals.

    Args:
        data: A file or directory in any format of `cgcnn.data.formats`; or records, such as the rows of a table, with
            ``structure`` (of pymatgen) and labels.
        target: Labels to learn; if empty, those of the recipe, or ``target``.
        recipe: A recipe, the name of a shipped one, or a file; None for structures with plain settings.
        binary: Labels that are 0 or 1, to learn as probabilities.
        division: How to split the rows; None as the recipe says, 60/20/20 without one.
        workers: Number of processes that build graphs; None uses all cores once that is worth it.
        cache: Folder that keeps built graphs; None keeps none.
        checkpoints: Folder that keeps the progress, so that the same call resumes; None keeps none.
        progress: Called with the stage, the member and its `cgcnn.training.fit.EpochProgress` after every epoch.
        fit: ``epochs``, ``patience``, ``members`` and ``seed`` instead of the recipe's, see `FitChanges`.

    Returns:
        The model (``best``), its ``card``, what was measured, and ``save(path)``.

    Raises:
        UserError: There is no such recipe or path, a setting is out of range, no crystal is usable or has the label, or
            training diverged.
    """
    base = read_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    samples = read_samples(Path(data), base) if isinstance(data, (str, Path)) else [*_of_records(data)]
    about = ("model", Path(data).name if isinstance(data, (str, Path)) else "records")
    chosen = choose_recipe(base, samples, about, (_names(target), _names(binary)), **fit)
    builder = Builder(Rule.of(chosen.settings), workers or cores(), Path(cache) if cache else None)
    found = prepare(samples, chosen, builder)
    splits = (division or Division()).splits(found.usable, [sample.labels for sample in found.samples], chosen)
    with nullcontext(checkpoints) if checkpoints is not None else TemporaryDirectory() as folder:
        claim(Path(folder), found.table, chosen, splits, resume=True)
        return train_table(found.table, chosen, splits, Path(folder), progress)


def _of_records(records: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
    rows = records.to_dict("records") if hasattr(records, "to_dict") else records
    for i, row in enumerate(rows):
        yield from_record({k: v.as_dict() if hasattr(v, "as_dict") else v for k, v in row.items()}, i)


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
