"""Numbers by element as a periodic table. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.inference.plots import new_figure, save_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import NDArray

_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  # atomic numbers at which periods end
_ABSENT = "0.93"
_GAP = 0.25  # rows, above the f block


def position(z: int) -> tuple[float, float]:
    """Row and column, from 0, of an element; lanthanides and actinides in two rows below the others."""
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
        title: Of the map.
        paths: The files, whose suffixes say the format (.png, .svg, .pdf).

    Raises:
        UserError: Matplotlib is missing, does not know the format, or cannot write the file.
    """
    figure = new_figure(paths[0], (9.6, 5.0))
    figure.set_layout_engine("none")  # places are given; finding them takes longer than all the rest
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
    return float(colour[:3] @ np.array([0.299, 0.587, 0.114])) < 0.5  # luma of the human eye
