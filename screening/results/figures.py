"""The figures of a report, as SVG text. The same run gives the same text. Needs matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.inference.plots import new_figure
from screening.results.survey import LOWEST, STEP, Survey

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

REACH = 0.5
"""Energy above hull, eV/atom, at which the map's colours end."""


def distribution(survey: Survey, path: Path) -> str:
    """How many candidates have which energy above hull; the threshold is marked.

    Args:
        survey: Of the run.
        path: The report, for messages.

    Raises:
        UserError: Matplotlib is missing.
    """
    filled = np.flatnonzero(survey.histogram)
    first, last = int(filled[0]), int(filled[-1]) + 1
    left = LOWEST + STEP * np.arange(first, last)
    figure = new_figure(path, (6.4, 2.8))
    axes = figure.add_subplot()
    axes.bar(left, survey.histogram[first:last], width=STEP, align="edge", color="#4878a8")
    axes.axvline(survey.threshold, color="#b04030", linewidth=1)
    axes.set(xlabel="predicted energy above hull (eV/atom)", ylabel="candidates")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def best_of_pairs(survey: Survey, names: tuple[str, ...], path: Path) -> str:
    """The lowest energy above hull of each pair of elements on two sites, as a map; empty of fewer than four pairs.

    The arguments and errors are those of `distribution`, and the names of the sites.
    """
    there = np.isfinite(survey.lowest)
    if there.sum() < 4:
        return ""
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    cells = np.where(there, survey.lowest, np.nan)[np.ix_(rows, columns)]
    figure = new_figure(path, (max(4.2, 1.6 + 0.19 * len(columns)), max(2.8, 0.9 + 0.19 * len(rows))))
    axes = figure.add_subplot()
    image = axes.imshow(cells, cmap="viridis_r", vmin=min(0.0, float(np.nanmin(cells))), vmax=REACH, aspect="equal")
    axes.set_facecolor("0.93")
    axes.set_xticks(range(len(columns)), _symbols(columns), fontsize=7)
    axes.set_yticks(range(len(rows)), _symbols(rows), fontsize=7)
    ylabel, xlabel = names
    axes.set(ylabel=ylabel, xlabel=xlabel)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max")
    bar.set_label("lowest E above hull (eV/atom)", fontsize=7)
    return _svg(figure)


def _symbols(numbers: NDArray[np.int64]) -> list[str]:
    return [SYMBOLS[number] for number in numbers]


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context  # noqa: PLC0415  # an extra

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "report"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
