"""Learning curves: the error on fixed test crystals after training on more and more of the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.inference.plots import new_figure, save_figure
from cgcnn.training.data import nested
from cgcnn.training.fit import claim
from cgcnn.training.train import train_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cgcnn.training.data import TrainingTable
    from cgcnn.training.members import Report
    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.train import Trained

HELD = 0.1  # share of the usable rows for validation, and for the test


@dataclass(frozen=True)
class Point:
    """One training of a learning curve.

    Attributes:
        recipe: Name of the recipe.
        training: Number of training crystals.
        epochs: Number of epochs.
        metric: MAE, or AUC of a binary target.
        value: Metric of the recipe's first target on the test rows, at the epoch with the best validation.
        unit: Unit of the value.
        test: Number of test rows with a label.
    """

    recipe: str
    training: int
    epochs: int
    metric: str
    value: float
    unit: str
    test: int


def learning_curve(
    table: TrainingTable, recipe: TrainRecipe, sizes: Sequence[int], checkpoints: Path, report: Callable[[int], Report]
) -> Iterator[Point]:
    """Train a recipe on growing parts of a table.

    Each part contains the smaller ones; all share their validation and test rows. Smaller parts get more epochs: a part
    of a quarter of the largest gets twice the recipe's epochs, in general the square root of the ratio.

    Args:
        table: Table from `cgcnn.training.data.prepare`.
        recipe: Recipe with the number of epochs of the largest part.
        sizes: Numbers of training rows.
        checkpoints: Folder of checkpoints; an interrupted training resumes, a finished one is only measured again.
        report: Makes, for a size, the function called after every epoch.

    Raises:
        UserError: There are too few rows, the folder holds another training, or training diverged.
    """
    usable = ~np.isnan(table.targets[:, 0])
    held = max(1, round(HELD * int(usable.sum())))
    for size in sizes:
        split = nested(usable, size, held, recipe.fit.seed)
        epochs = round(recipe.fit.epochs * math.sqrt(max(sizes) / size))
        longer = recipe.model_copy(update={"fit": recipe.fit.model_copy(update={"epochs": epochs})})
        folder = checkpoints / f"{recipe.name}-{size}"
        claim(folder, table, longer, [split], resume=True)
        yield _point(train_table(table, longer, [split], folder, report(size)), size, epochs)


def _point(found: Trained, size: int, epochs: int) -> Point:
    card = found.card
    target = card.targets[0].name
    wanted = "AUC" if target in card.settings.binary else "MAE"
    metric = next((m for m in card.metrics if (m.target, m.metric) == (target, wanted)), None)
    if metric is None:
        raise UserError(f"{wanted} of {target} is not defined on the test rows; use more data")
    test = int((found.part == 2).sum())
    return Point(card.name, size, epochs, wanted, metric.value, metric.unit, test)


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write ``recipe,training,epochs,metric,value,unit,test``, one row for each training.

    Raises:
        UserError: The file cannot be written.
    """
    rows = [[str(round(v, 6) if isinstance(v, float) else v) for v in vars(point).values()] for point in points]
    write_csv(path, list(Point.__dataclass_fields__), rows)


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw the metric against the number of training crystals, one line for each recipe.

    Raises:
        UserError: As `new_figure` and `save_figure`.
    """
    figure = new_figure(path, (4.8, 3.8))
    axes = figure.add_subplot()
    for recipe, marker in zip(dict.fromkeys(point.recipe for point in points), "os^Dv<>" * len(points), strict=False):
        mine = sorted((point.training, point.value) for point in points if point.recipe == recipe)
        axes.plot(*zip(*mine, strict=True), marker=marker, markersize=5, linewidth=1.3, label=recipe)
    first = points[0]
    axes.set_xscale("log")
    axes.set_xlabel("training crystals")
    axes.set_ylabel(f"test {first.metric}" + (f" ({first.unit})" if first.unit else ""))
    if first.metric == "MAE":
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="both", labelsize="small")
    sizes = sorted({point.training for point in points})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.grid(visible=True, which="both", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    axes.set_title(f"{first.test:,} test crystals", fontsize="medium")
    save_figure(figure, path)
