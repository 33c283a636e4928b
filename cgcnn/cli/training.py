"""The steps of the commands `cgcnn train` and `cgcnn learning-curve`."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

from cgcnn.cli.options import echo
from cgcnn.cli.terminal import Reporter
from cgcnn.errors import UserError
from cgcnn.files import with_end
from cgcnn.inference.plots import new_figure
from cgcnn.inference.predict import summary
from cgcnn.training.data import Prepared, prepare
from cgcnn.training.fit import claim
from cgcnn.training.learning_curve import draw, learning_curve, write_points
from cgcnn.training.train import train_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cgcnn.data.build import Builder
    from cgcnn.data.samples import Sample
    from cgcnn.network.settings import Settings
    from cgcnn.training.data import Division, TrainingTable
    from cgcnn.training.learning_curve import Point
    from cgcnn.training.members import Report
    from cgcnn.training.recipe import TrainRecipe


def prepare_samples(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder, *, strict: bool) -> Prepared:
    """Prepare the usable samples and report the others.

    Raises:
        UserError: A sample is not usable and ``strict`` is set.
    """
    found = prepare(samples, recipe, builder)
    text = summary([sample.id for sample in samples], found.failures)
    if text and strict:
        raise UserError(text)
    if text:
        echo(f"{text}; training without them", err=True)
    if without := int((~found.usable).sum()):
        first = found.samples[int((~found.usable).argmax())].id
        said = f"{without} of {len(found.usable)} crystals have no label, such as {first}; training without them"
        echo(said, err=True)
    return found


def run_training(found: Prepared, recipe: TrainRecipe, how: Division, output: Path, *, resume: bool) -> None:
    """Train, write the model and its figures, and show those of the test part."""
    splits = how.splits(found.usable, [sample.labels for sample in found.samples], recipe)
    checkpoints = with_end(output, ".training")
    claim(checkpoints, found.table, recipe, splits, resume=resume)
    with Reporter(len(splits) if len(splits) > 1 else recipe.fit.members) as report:
        trained = train_table(found.table, recipe, splits, checkpoints, report)
    model, *others = trained.save(output)
    also = f"; also {', '.join(file.name for file in others)}" if others else ""
    shutil.rmtree(checkpoints)
    echo(f"{model} written{also}", err=True)
    for metric in trained.card.metrics if others else ():
        echo(f"{metric.target} {metric.metric} {metric.value:.4f} {metric.unit}".rstrip() + f"  {metric.split}")


def prepare_tables(
    trainings: Iterable[tuple[Sequence[Sample], TrainRecipe]],
    build: Callable[[Settings], AbstractContextManager[Builder]],
    *,
    strict: bool,
) -> Iterator[tuple[TrainingTable, TrainRecipe]]:
    """Prepare the usable samples of each recipe in turn, as `prepare_samples`."""
    for samples, recipe in trainings:
        with build(recipe.settings) as builder:
            found = prepare_samples(samples, recipe, builder, strict=strict)
        yield found.table, recipe


def run_learning_curve(tables: Iterable[tuple[TrainingTable, TrainRecipe]], sizes: Sequence[int], output: Path) -> None:
    """Compute the learning curves of recipes, write ``OUTPUT.csv``, ``.png`` and ``.svg``, and show the points.

    Raises:
        UserError: As `learning_curve`, or matplotlib is missing, or a file cannot be written.
    """
    checkpoints, files = with_end(output, ".training"), [with_end(output, end) for end in (".csv", ".png", ".svg")]
    new_figure(output, (1, 1))  # if matplotlib is missing, say so before the work
    points: list[Point] = []
    for table, recipe in tables:
        with Reporter(recipe.fit.members) as reporter:
            points += learning_curve(table, recipe, sizes, checkpoints, partial(_named, reporter, recipe.name))
    write_points(files[0], points)
    for file in files[1:]:
        draw(points, file)
    shutil.rmtree(checkpoints)
    echo(f"{', '.join(map(str, files))} written", err=True)
    for point in points:  # last: if the reader of stdout goes away, nothing is lost
        echo(f"{point.recipe} {point.training:6d} crystals: {point.metric} {point.value:.4f} {point.unit}")


def _named(reporter: Report, name: str, size: int) -> Report:
    return lambda _, member, progress: reporter(f"{name}, {size} crystals", member, progress)
