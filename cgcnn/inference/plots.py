"""Plots of an evaluation (parity for numbers, ROC for classes), and reliability. Needs matplotlib."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.inference.metrics import roc

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cgcnn.inference.evaluate import Evaluation
    from cgcnn.models.card import Card

DOTS = 150  # an inch
MANY = 2000  # points; more are shown as density


def new_figure(path: Path, size: tuple[float, float]) -> Figure:
    """An empty figure of a size in inches, to be drawn into ``path``.

    Raises:
        UserError: Matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(f"{path}: drawing needs matplotlib: pip install 'perovskite-screening[plots]'") from None
    return Figure(figsize=size, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whose suffix says the format (.png, .svg, .pdf).

    Raises:
        UserError: The format is not known, or the file cannot be written.
    """
    drawn = BytesIO()
    try:
        figure.savefig(drawn, dpi=DOTS, format=path.suffix.removeprefix(".") or None)
    except ValueError as error:
        raise UserError(f"{path}: cannot be drawn ({error}); choose a .png or .svg file") from None
    write_whole(path, drawn.getvalue())


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw an evaluation into a file.

    Raises:
        UserError: As `new_figure` and `save_figure` do.
    """
    figure = new_figure(path, (4.2, 4.0))
    axes = figure.add_subplot()
    (_roc if evaluation.binary else _parity)(axes, evaluation)
    axes.set_aspect("equal")
    save_figure(figure, path)


def draw_reliability(card: Card, path: Path) -> None:
    """Draw which share of labels the intervals of a card's model held into a file, a line a target.

    Raises:
        UserError: The card has no such shares; or as `new_figure` and `save_figure` do.
    """
    known = [calibration for calibration in card.calibrations if calibration.held]
    if not known:
        raise UserError(
            f"model {card.name}: its card has no reliability; ensembles have one that are trained with a check"
        )
    figure = new_figure(path, (4.2, 4.0))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, zorder=0)
    for calibration in known:
        axes.plot(list(calibration.held), list(calibration.held.values()), "o-", markersize=3, label=calibration.target)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="central interval", ylabel="share of labels inside")
    axes.set_aspect("equal")
    axes.legend(frameon=False)
    axes.set_title(f"{card.name}: {known[0].split}", fontsize="small")
    save_figure(figure, path)


def _parity(axes: Axes, evaluation: Evaluation) -> None:
    label, prediction = evaluation.label, evaluation.prediction
    both = np.concatenate([label, prediction])
    margin = 0.04 * (float(both.max() - both.min()) or 1.0)
    low, high = float(both.min()) - margin, float(both.max()) + margin
    if len(label) > MANY:
        axes.hexbin(label, prediction, gridsize=60, extent=(low, high, low, high), bins="log", cmap="viridis", mincnt=1)
    else:
        axes.plot(label, prediction, "o", markersize=3, alpha=0.5, markeredgewidth=0, rasterized=len(label) > 500)
    axes.plot([low, high], [low, high], color="0.4", linewidth=0.8, zorder=0)
    unit = f" ({evaluation.unit})" if evaluation.unit else ""
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"{evaluation.target}, label{unit}")
    axes.set_ylabel(f"{evaluation.target}, predicted{unit}")
    found = evaluation.figures
    lines = [f"MAE {found['MAE']:.4g}{unit.replace('(', '').replace(')', '')}", f"$R^2$ {found['R2']:.3f}"]
    lines.append(f"{len(label):,} crystals")
    axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top")


def _roc(axes: Axes, evaluation: Evaluation) -> None:
    false, true = roc(evaluation.prediction, evaluation.label)
    axes.plot(false, true, drawstyle="default", linewidth=1.5)
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="false positive rate", ylabel="true positive rate")
    area, yes = evaluation.figures["AUC"], int((evaluation.label > 0.5).sum())
    axes.set_title(evaluation.target, fontsize="medium")
    axes.text(
        0.96, 0.06, f"AUC {area:.3f}\n{yes:,} of {len(evaluation.label):,} yes", transform=axes.transAxes, ha="right"
    )
