"""Numbers by element as a periodic table. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.plots import new_figure, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from numpy.typing import NDArray

    from cgcnn.explain import SiteMeans

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


def draw_site_means(means: SiteMeans, reach: float, title: str, path: Path) -> None:
    """Draw what elements contribute on the sites of a role, as a heat map whose white is their mean.

    Args:
        means: From `cgcnn.explain.site_means`.
        reach: Distance from that mean at which the colours end; the same for maps that are to be compared.
        title: What is shown.
        path: The file, whose suffix says the format (.png, .svg, .pdf).

    Raises:
        UserError: Matplotlib is missing, does not know the format, or cannot write the file.
    """
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415  # an extra
    from matplotlib.colors import CenteredNorm  # noqa: PLC0415

    figure = new_figure(path, (9.6, 5.0))
    axes = figure.add_subplot()
    colours = ScalarMappable(CenteredNorm(means.middle, reach), "RdBu_r")
    _cells(axes, means, colours)
    axes.set(xlim=(-0.05, 18.05), ylim=(9.3, -0.05), aspect="equal")
    axes.axis("off")
    axes.set_title(title, fontsize=11)
    bar = figure.colorbar(colours, ax=axes, orientation="horizontal", shrink=0.55, aspect=35, pad=0.02)
    unit = f"{means.unit}; " if means.unit else ""
    bar.set_label(f"mean contribution ({unit}white: mean of the elements on {means.role}, {means.middle:.2f})")
    save_figure(figure, path)


def _cells(axes: Axes, means: SiteMeans, colours: ScalarMappable) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415  # an extra

    shades = dict(zip(means.numbers.tolist(), colours.to_rgba(means.mean), strict=True))
    values = dict(zip(means.numbers.tolist(), means.mean.tolist(), strict=True))
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
