"""The command `cgcnn train`, step by step."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from cgcnn.cli.progress import Reporter
from cgcnn.errors import UserError
from cgcnn.inference.predict import summary
from cgcnn.models.files import save
from cgcnn.training import experiment as study
from cgcnn.training.ensemble import Prepared, claim, prepare, train
from cgcnn.training.split import by_column, by_share, by_size, folds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.data.build import Builder
    from cgcnn.data.sample import Sample
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.split import Split


def prepared(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder, *, strict: bool) -> Prepared:
    """The usable samples; says how many are not.

    Raises:
        UserError: With ``strict``, an sample that is not usable.
    """
    found = prepare(samples, recipe, builder)
    text = summary([sample.id for sample in samples], found.failures)
    if text and strict:
        raise UserError(text)
    if text:
        click.echo(f"{text}; going on without", err=True)
    return found


@dataclass(frozen=True)
class Division:
    """How the rows are to be split, as the options say; None where one is not given."""

    split: str | None = None
    sizes: str | None = None
    fold_column: str | None = None
    test_fold: str | None = None
    folds: int | None = None


def divide(found: Prepared, recipe: TrainRecipe, how: Division) -> list[Split]:
    """The splits that the options ask for; none where the recipe has a check of its own and no option is given.

    Raises:
        UserError: Options that contradict each other or do not fit the rows.
    """
    ways = ("split", "sizes", "fold_column", "folds")
    asked = [f"--{way.replace('_', '-')}" for way in ways if getattr(how, way) is not None]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)}: one way to split, please")
    if how.test_fold is not None and how.fold_column is None:
        raise UserError("--test-fold: needs --fold-column, the label that names the folds")
    usable, seed = ~np.isnan(found.table.targets.numpy()).all(axis=1), recipe.fit.seed
    if how.fold_column is not None:
        values = [sample.labels.get(how.fold_column) for sample in found.samples]
        return [by_column(usable, how.fold_column, values, how.test_fold)]
    if how.folds is not None:
        return folds(usable, how.folds, seed)
    if how.sizes is not None:
        return [by_size(usable, [int(size) for size in _numbers("--sizes", how.sizes)], seed)]
    if how.split is None and recipe.validation_fold is not None:
        return []
    return [by_share(usable, _numbers("--split", how.split or recipe.shares), seed)]


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", "/").split("/")]
    except ValueError:
        raise UserError(f"{option} {text}: give three numbers, such as 60/20/20") from None


def run(found: Prepared, recipe: TrainRecipe, splits: Sequence[Split], output: Path, *, resume: bool) -> None:
    """Train, write the model and what was measured, and show the figures of the test part."""
    checkpoints = output.with_suffix(".training")
    claim(checkpoints, found.table, recipe, resume=resume, also=b"".join(s.part.tobytes() for s in splits))
    if not splits:
        with Reporter(recipe.fit.members) as report:
            model = train(found.table, recipe, checkpoints, report)
        click.echo(f"{save(model, output)} written", err=True)
    else:
        with Reporter(recipe.fit.members if len(splits) == 1 else len(splits)) as report:
            result = study.run(found.table, recipe, splits, checkpoints, report)
        last = save(result.last, output.with_name(output.stem + "-last"))
        ids = [sample.id for sample in found.samples]
        files = [last, *study.write(result, ids, found.table.targets.numpy(), output)]
        click.echo(f"{save(result.best, output)} written; also {', '.join(file.name for file in files)}", err=True)
        for metric in result.best.card.metrics:
            click.echo(
                f"{metric.target} {metric.metric} {metric.value:.4f} {metric.unit}".rstrip() + f"  {metric.split}"
            )
    shutil.rmtree(checkpoints)
