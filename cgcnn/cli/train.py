"""The command `cgcnn train`, step by step."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from cgcnn.cli.options import plain
from cgcnn.cli.progress import Reporter
from cgcnn.errors import UserError
from cgcnn.files import with_end
from cgcnn.inference.predict import summary
from cgcnn.training.checkpoints import claim
from cgcnn.training.protocols import train
from cgcnn.training.table import Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.data.build import Builder
    from cgcnn.data.sample import Sample
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.split import Division


def prepared(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder, *, strict: bool) -> Prepared:
    """Prepare the usable samples; say how many are not, and how many have no label.

    Raises:
        UserError: With ``strict``, an sample that is not usable.
    """
    found = prepare(samples, recipe, builder)
    text = summary([sample.id for sample in samples], found.failures)
    if text and strict:
        raise UserError(text)
    if text:
        click.echo(f"{text}; going on without", err=True)
    if without := int((~found.usable).sum()):
        first = found.samples[int((~found.usable).argmax())].id
        click.echo(
            plain(f"{without} of {len(found.usable)} crystals have no label, such as {first}; going on without"),
            err=True,
        )
    return found


def run(found: Prepared, recipe: TrainRecipe, how: Division, output: Path, *, resume: bool) -> None:
    """Train, write the model and what was measured, and show the figures of the test part."""
    splits = how.splits(found.usable, [sample.labels for sample in found.samples], recipe)
    checkpoints = with_end(output, ".training")
    claim(checkpoints, found.table, recipe, splits, resume=resume)
    with Reporter(len(splits) if len(splits) > 1 else recipe.fit.members) as report:
        trained = train(found.table, recipe, splits, checkpoints, report)
    model, *others = trained.save(output)
    also = f"; also {', '.join(file.name for file in others)}" if others else ""
    shutil.rmtree(checkpoints)
    click.echo(f"{model} written{also}", err=True)
    for metric in trained.card.metrics if others else ():
        click.echo(f"{metric.target} {metric.metric} {metric.value:.4f} {metric.unit}".rstrip() + f"  {metric.split}")
