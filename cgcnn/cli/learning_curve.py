"""The command `cgcnn learning-curve`, step by step."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import click

from cgcnn.cli.progress import Reporter
from cgcnn.cli.train import prepared
from cgcnn.files import with_end
from cgcnn.inference.plots import new_figure
from cgcnn.training.learning_curve import draw, learning_curve, write_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cgcnn.data.build import Builder
    from cgcnn.data.sample import Sample
    from cgcnn.network.settings import Settings
    from cgcnn.training.learning_curve import Point
    from cgcnn.training.members import Report
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.table import Table


def tables(
    samples: Sequence[Sample],
    recipes: Iterable[TrainRecipe],
    build: Callable[[Settings], AbstractContextManager[Builder]],
    *,
    strict: bool,
) -> Iterator[tuple[Table, TrainRecipe]]:
    """The usable samples as each recipe needs them, one recipe after the other; see `cgcnn.cli.train.prepared`."""
    for recipe in recipes:
        with build(recipe.settings) as builder:
            found = prepared(samples, recipe, builder, strict=strict)
        yield found.table, recipe


def run(tables: Iterable[tuple[Table, TrainRecipe]], sizes: Sequence[int], output: Path) -> None:
    """Make the curves of recipes with their tables, write ``OUTPUT.csv``, ``.png`` and ``.svg``, and show the points.

    Raises:
        UserError: As `learning_curve` does, or matplotlib is missing, or a file cannot be written.
    """
    checkpoints, files = with_end(output, ".training"), [with_end(output, end) for end in (".csv", ".png", ".svg")]
    new_figure(output, (1, 1))  # without matplotlib, say so before the work
    points: list[Point] = []
    for table, recipe in tables:
        with Reporter(recipe.fit.members) as reporter:
            points += learning_curve(table, recipe, sizes, checkpoints, partial(_named, reporter, recipe.name))
    write_points(files[0], points)
    for file in files[1:]:
        draw(points, file)
    shutil.rmtree(checkpoints)
    click.echo(f"{', '.join(map(str, files))} written", err=True)
    for point in points:  # now, for who reads them may go away, which must cost nothing
        click.echo(f"{point.recipe} {point.training:6d} crystals: {point.metric} {point.value:.4f} {point.unit}")


def _named(reporter: Report, name: str, size: int) -> Report:
    return lambda _, member, progress: reporter(f"{name}, {size} crystals", member, progress)
