"""The figures of a report, as SVG text. The same run gives the same text."""

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cgcnn.elements import SYMBOLS
from screening.survey import LOWEST, STEP, Survey

REACH = 0.5
"""Energy above hull, eV/atom, at which the map's colours end."""
SETTINGS: dict[Any, Any] = {"svg.hashsalt": "report", "svg.fonttype": "path", "font.size": 9}


def distribution(survey: Survey) -> str:
    """How many candidates have which energy above hull; those at or below the threshold are marked."""
    filled = np.flatnonzero(survey.histogram)
    first, last = int(filled[0]), int(filled[-1]) + 1
    left = LOWEST + STEP * np.arange(first, last)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.bar(left, survey.histogram[first:last], width=STEP, align="edge", color="#4878a8")
        axes.axvline(survey.threshold, color="#b04030", linewidth=1)
        axes.set(xlabel="predicted energy above hull (eV/atom)", ylabel="candidates")
        axes.spines[["top", "right"]].set_visible(False)
        return _svg(figure)


def best_of_pairs(survey: Survey, names: tuple[str, str]) -> str:
    """The lowest energy above hull of each pair of elements on two sites, as a map; empty of fewer than four pairs."""
    there = np.isfinite(survey.lowest)
    if there.sum() < 4:
        return ""
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    cells = np.where(there, survey.lowest, np.nan)[np.ix_(rows, columns)]
    with rc_context(SETTINGS):
        figure = Figure(
            figsize=(max(4.2, 1.6 + 0.19 * len(columns)), max(2.8, 0.9 + 0.19 * len(rows))), layout="constrained"
        )
        axes = figure.add_subplot()
        image = axes.imshow(cells, cmap="viridis_r", vmin=min(0.0, float(np.nanmin(cells))), vmax=REACH, aspect="equal")
        axes.set_facecolor("0.93")
        axes.set_xticks(range(len(columns)), _symbols(columns), fontsize=7)
        axes.set_yticks(range(len(rows)), _symbols(rows), fontsize=7)
        axes.set(ylabel=names[0], xlabel=names[1])
        axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="max")
        bar.set_label("lowest E above hull (eV/atom)", fontsize=7)
        return _svg(figure)


def _symbols(numbers: NDArray[np.int64]) -> list[str]:
    return [SYMBOLS[number] for number in numbers]


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
