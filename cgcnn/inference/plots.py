"""Plots with matplotlib: parity or ROC of an evaluation, reliability, and numbers by element as a periodic table."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.inference.evaluate import roc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from cgcnn.inference.evaluate import Evaluation
    from cgcnn.models.card import Card


DOTS = 150  # an inch
MANY = 2000  # points; more become a density
_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  # atomic numbers at which periods end
_ABSENT = "0.93"
_GAP = 0.25  # rows, above the f block


def new_figure(path: Path, size: tuple[float, float]) -> Figure:
    """Make an empty figure of a size in inches, to draw into ``path``.

    Raises:
        UserError: Matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(f"{path}: drawing needs matplotlib: pip install 'perovskite-screening[plots]'") from None
    return Figure(figsize=size, layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file in the format of its suffix (.png, .svg, .pdf).

    Raises:
        UserError: The format is unknown, or the file cannot be written.
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
    """Draw into a file which share of labels the intervals of a model hold, one line per target.

    Raises:
        UserError: The card does not say; or as `new_figure` and `save_figure` do.
    """
    known = [calibration for calibration in card.calibrations if calibration.held]
    if not known:
        raise UserError(f"model {card.name}: its card has no reliability; train an ensemble with a check to get one")
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


def position(z: int) -> tuple[float, float]:
    """Return the row and column of an element, from 0; lanthanides and actinides are two rows below the others."""
    period = next(i for i, last in enumerate(_NOBLE) if z <= last)
    place = z - _NOBLE[period - 1]  # 1 for the alkali metal
    length = _NOBLE[period] - _NOBLE[period - 1]
    if length == 32 and 3 <= place <= 16:  # La to Yb, Ac to No; Lu and Lr are in the d block
        return period + 1 + _GAP, place - 1
    if place <= 2 and z != 2:
        return period - 1, place - 1
    return period - 1, 18 - (length - place) - 1


def draw_elements(values: Mapping[int, float], quantity: str, title: str, paths: Sequence[Path]) -> None:
    """Draw numbers by element as a heat map whose white is their mean; other elements are grey.

    Args:
        values: Atomic number → value.
        quantity: What the values are, with their unit, for the colour bar.
        title: Title of the map.
        paths: Files, with the format as suffix (.png, .svg, .pdf).

    Raises:
        UserError: As `new_figure` and `save_figure` do.
    """
    figure = new_figure(paths[0], (9.6, 5.0))
    figure.set_layout_engine("none")  # positions are given; finding them takes longer than everything else
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import CenteredNorm

    middle = float(np.mean(list(values.values())))
    reach = max(abs(value - middle) for value in values.values()) or 1.0
    colours = ScalarMappable(CenteredNorm(middle, reach), "RdBu_r")
    axes = figure.add_axes((0.02, 0.15, 0.96, 0.75), xlim=(0, 18), ylim=(9.25, 0), aspect="equal")
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    _cells(axes, values, colours)
    bar = figure.colorbar(colours, cax=figure.add_axes((0.25, 0.11, 0.5, 0.03)), orientation="horizontal")
    bar.set_label(f"{quantity}; white: mean of the elements, {middle:.2f}")
    for path in paths:
        save_figure(figure, path)


def _cells(axes: Axes, values: Mapping[int, float], colours: ScalarMappable) -> None:
    from matplotlib.patches import Rectangle

    shades = dict(zip(values, colours.to_rgba(np.array(list(values.values()))), strict=True))
    for z in range(1, MAX_Z + 1):
        row, column = position(z)
        known, centre = z in values, column + 0.5
        axes.add_patch(Rectangle((column + 0.02, row + 0.02), 0.96, 0.96, color=shades.get(z, _ABSENT), linewidth=0))
        ink = ("white" if _is_dark(shades[z]) else "black") if known else "0.7"
        axes.text(centre, row + (0.38 if known else 0.5), SYMBOLS[z], color=ink, ha="center", va="center", fontsize=11)
        if known:
            text = f"{values[z]:.2f}".replace("-", "\N{MINUS SIGN}")
            axes.text(centre, row + 0.77, text, color=ink, ha="center", va="center", fontsize=6.5)


def _is_dark(colour: NDArray[np.float64]) -> bool:
    return float(colour[:3] @ np.array([0.299, 0.587, 0.114])) < 0.5  # luma
