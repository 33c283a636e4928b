"""What the page of a report computes with, as JSON: the listed candidates, maps of all, structures, neighbours."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.graphs.tilts import build
from screening.candidates.columns import DECIMALS
from screening.candidates.compositions import formula
from screening.chemistry.filters import KINDS
from screening.results.report.columns import in_order, show_text, show_value
from screening.results.report.neighbours import mendeleev_numbers
from screening.results.report.survey import LOWEST, STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cgcnn.graphs.prototype import Prototype
    from screening.candidates.kind import Candidates
    from screening.plan import Plan
    from screening.results.relaxation.kept import Kept
    from screening.results.report.neighbours import Neighbours
    from screening.results.report.survey import Best, ByElement, Survey
    from screening.results.table import Table

MOST_STRUCTURES = 1_000
"""Structures that go with a report of structures, the best ones; compositions are built in the browser."""
MOST_ATOMS = 20_000
"""Atoms of all of these together, some twenty bytes each."""
MOST_TEXT = 400
"""Characters of a text in a table that may have come from anywhere."""


def browser_data(
    survey: Survey,
    table: Table,
    neighbours: Neighbours | None,
    source: str = "",
    relaxed: Kept | None = None,
) -> dict[str, Any]:
    """What the page of a report computes with, as JSON values.

    Args:
        survey: Of all candidates.
        table: The candidates to list.
        neighbours: Of these, in the training of the model; None where that is not known.
        source: Whose numbers those of the training are.
        relaxed: What candidates became when they were relaxed, if some were.
    """
    plan = table.plan
    prototype = PROTOTYPES.get(plan.candidates.definition.get("prototype", ""))
    return {
        "stable_at": plan.stable_at,
        "model": plan.model.name,
        "source": source,
        "filters": list(told_filters(plan)),
        **_table(table, prototype, relaxed),
        "histogram": _histogram(survey),
        "pairs": _pairs(survey, plan.candidates),
        "elements": {role: list(_elements(found, plan.candidates)) for role, found in survey.elements.items()},
        "neighbours": None if neighbours is None or prototype is None else _neighbours(neighbours, prototype),
        "prototype": None if prototype is None else _prototype(prototype),
        "species": None if prototype is None else table.species.tolist(),
        "symbols": SYMBOLS,
        "order": [SYMBOLS[z] for z in np.argsort(mendeleev_numbers(), kind="stable")[1:]],
        "structures": None if prototype else list(_structures(table)),
    }


def _table(table: Table, prototype: Prototype | None, relaxed: Kept | None) -> dict[str, Any]:
    """The columns that have anything to say, and their values: numbers, 0 and 1, or texts; None where there is none."""
    values = {column.name: column for column in table.plan.candidates.ranked}
    sites = prototype.sites if prototype else ()
    told = table.arrays()
    del told["rank"]
    columns, rows = [], {"index": told.pop("index").tolist()}
    told |= {name: np.array(texts) for name, texts in (relaxed.columns(rows["index"]) if relaxed else {}).items()}
    for name in in_order(told):
        shown = show_value(values[name], table.plan.stable_at) if name in values else show_text(name, sites)
        cells = _cells(name, told[name], shown.kind)
        if any(cell not in {None, ""} for cell in cells):
            same = shown.kind == "flag" and len(set(cells)) == 1
            columns.append(asdict(shown) | {"hidden": shown.hidden or same})
            rows[name] = cells
    return {"columns": columns, "rows": rows}


def _cells(name: str, values: np.ndarray, kind: str) -> list[float | int | str | None]:
    if kind == "text":
        return [_text(str(value)) for value in values]
    if kind == "flag":
        return [int(value) for value in values]
    numbers = (float("nan" if value == "" else value) for value in values.tolist())
    return [_rounded(value, DECIMALS.get(name, 5)) for value in numbers]


def _text(value: str) -> str:
    return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}…"


def _rounded(value: float, decimals: int) -> float | None:
    """As JSON has it; None of what is no number."""
    return round(value, decimals) if np.isfinite(value) else None


def told_filters(plan: Plan) -> Iterator[dict[str, str]]:
    """The filters of a run: text, meaning, source, and the column that each looks at."""
    for chosen in plan.filters:
        kind = KINDS[chosen.name]
        yield {"text": str(chosen), "meaning": kind.meaning, "source": kind.source, "column": kind.column}


def _histogram(survey: Survey) -> dict[str, Any]:
    """Counts of consecutive bins, from the first that has any to the last."""
    filled = np.flatnonzero(survey.histogram)
    first, last = int(filled[0]), int(filled[-1])
    low = round(LOWEST + STEP * first, 9)
    return {"low": low, "step": STEP, "counts": survey.histogram[first : last + 1].tolist()}


def _pairs(survey: Survey, candidates: Candidates) -> dict[str, Any] | None:
    """The map of pairs: the names of the sites, and for each pair both symbols and its best; None without a map."""
    if not survey.pair:
        return None
    cells = [[*_pair(key), *_best(survey.pairs, key, candidates)] for key in survey.pairs.there.tolist()]
    return {"sites": list(candidates.map_sites), "cells": cells}


def _pair(key: int) -> tuple[str, str]:
    return SYMBOLS[key // (MAX_Z + 1)], SYMBOLS[key % (MAX_Z + 1)]


def _elements(found: ByElement, candidates: Candidates) -> Iterator[list[Any]]:
    """Symbol, candidates, how many of them are expected to be stable, and the best, of each element there."""
    for z in found.best.there.tolist():
        expected = _rounded(float(found.expected[z]), 3)
        yield [SYMBOLS[z], int(found.count[z]), expected, *_best(found.best, z, candidates)]


def _best(best: Best, kind: int, candidates: Candidates) -> list[Any]:
    """Energy, deviation, formula and index of the best of a kind."""
    formula_of = candidates.formula(best.atoms[kind])
    numbers = (_rounded(float(value[kind]), 4) for value in (best.energy, best.deviation))
    return [*numbers, formula_of, int(best.index[kind])]


def _neighbours(neighbours: Neighbours, prototype: Prototype) -> dict[str, Any]:
    """Formula, elements on the sites, energy, whether it is a bound, and id; and for each candidate the nearest."""
    told = neighbours.energy.tolist(), neighbours.bound.tolist(), neighbours.ids
    rows = zip(neighbours.species, *told, strict=True)
    known = [[formula(row, prototype), [SYMBOLS[z] for z in row], _rounded(e, 4), *more] for row, e, *more in rows]
    return {"known": known, "of": neighbours.of.tolist()}


def _prototype(prototype: Prototype) -> dict[str, Any]:
    """The cell that CIF files of its candidates have: vectors in units of a, site and fractions of each atom."""
    cell = build(prototype, np.arange(1, len(prototype.sites) + 1, dtype=np.uint8), 1.0)
    return {
        "name": prototype.name,
        "sites": prototype.sites,
        "roles": prototype.roles,
        "atoms": [prototype.sites.index(site) for site in cell.site_properties["site"]],
        "frac": cell.frac_coords.tolist(),
        "lattice": cell.lattice.matrix.tolist(),
    }


def _structures(table: Table) -> Iterator[dict[str, Any]]:
    """The best structures, as many as go: edges in Å and angles in degrees, symbols, fractions of the cell."""
    room = MOST_ATOMS
    for index in table.arrays("index")["index"][:MOST_STRUCTURES].tolist():
        structure = table.plan.candidates.structure(index, float("nan"))
        room -= len(structure)
        if room < 0:
            return
        yield {
            "cell": [round(value, 5) for value in structure.lattice.parameters],
            "symbols": [site.specie.symbol for site in structure],
            "frac": np.round(structure.frac_coords % 1.0, 5).tolist(),
        }
