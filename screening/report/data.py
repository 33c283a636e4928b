"""The data of a report's page, as JSON: the listed candidates, maps of all, structures, neighbours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.graphs.tilts import build
from screening.candidates.kind import DECIMALS
from screening.candidates.texts import formulas
from screening.chemistry.filters import KINDS
from screening.ranking.known import GIVEN
from screening.ranking.user_hull import ABOVE, BOUND, COMPETING, TARGET
from screening.report.neighbours import mendeleev_numbers
from screening.report.survey import LOWEST, STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cgcnn.graphs.prototype import Prototype
    from screening.candidates.kind import Candidates
    from screening.plan import Plan
    from screening.ranking.table import Ranking
    from screening.relax.folder import RelaxedCandidates
    from screening.report.neighbours import Neighbours
    from screening.report.survey import Best, ByElement, Survey
    from screening.store import Column


LABELS = {
    "rank": "#",
    "formula": "Formula",
    "e_above_hull": "E above hull",
    "e_above_hull_std": "± σ",  # noqa: RUF001  # sigma, as everybody writes it
    "p_stable": "P(≤{stable_at:g})",
    "in_domain": "In domain",
    "a_angstrom": "a",
    "a_experiment": "a by experiment",
    "tolerance_factor": "t",
    "octahedral_factor": "μ",
    "tau": "τ",
    "charge_balanced": "Charges balance",
    "radii_imputed": "Radii estimated",
    "in_training": "In training",
    "domain_distance": "Novelty",
    "state_reluctance": "Rarity of states",
    "redox": "Redox margin",
    "known_e_above_hull": "DFT in training",
    "known_is_bound": "Bound only",
    "known_source": "DFT by",
    "known_id": "Training row",
    "hhi": "HHI",
    "e_above_hull_cubic": "E cubic",
    ABOVE: "E above your hull",
    TARGET: "Formation energy",
    GIVEN: "E above hull, yours",
    "decomposition": "Decomposes into",
    BOUND: "E above hull, at least",
    COMPETING: "Competing phases",
    "relaxed_became": "Relaxed to",
    "relaxed_above_hull": "E above your hull, relaxed",
    "relaxed_gain": "Gain by tilting, relaxed",
    "relaxed_volume": "ΔV, relaxed",
    "p_tilted": "P(tilted)",
    "band_gap": "PBE gap",
    "band_gap_std": "± PBE gap",
    "p_perovskite": "P(perovskite)",
    "promise": "log odds of a perovskite, less E above hull / 0.05 eV/atom",
    "p_leaves": "P(leaves ideal)",
    "e_if_stays": "E if ideal",
    "e_if_leaves": "E if distorted",
    "states": "Oxidation states",
    "perovskite": "Kind of perovskite",
    "b_order": "Order of B",
    "known_as": "You have",
    "id": "Id",
    "path": "File",
}
"""Headings; other columns have the names of the CSV."""

MEANINGS = {
    "rank": "place in the ranking of this report",
    "formula": "elements in the order of their sites",
    "in_domain": "the model was trained on every element on this kind of site; if not, the numbers mean little",
    "radii_imputed": "an ionic radius is not in the table for this site and was estimated, so t, μ and τ are rougher",
    "in_training": "the model was trained on this very composition, so its energy is hardly a prediction",
    "domain_distance": "0: each element, and the combination of anions, is in the training; about 1: as new as a "
    "training element would be to the others; above 0, errors are larger than the deviation suggests",
    "state_reluctance": "how rare its rarest oxidation state is in the ICSD, as a power of ten: 2 means 1 in 100",
    "redox": "margin in volts by which no ion oxidises another ion or the anion; negative: it may react with itself",
    "known_e_above_hull": "energy above hull from DFT for this composition, as in the training data",
    "known_is_bound": "the DFT value is that of the cubic crystal; a tilted one may be lower",
    "known_source": "who computed the DFT value in the training",
    "known_id": "the id of its row in the training data",
    "hhi": "how far the production of its elements is concentrated in few countries; above 2500 is highly concentrated",
    "tau": "tolerance factor of Bartel et al. 2019; most perovskites are below 4.18",
    "a_angstrom": "predicted lattice constant: distance between neighbouring B",
    ABOVE: "predicted energy above the hull of the given competing phases",
    TARGET: "predicted formation energy, from which the energy above your hull follows",
    "decomposition": "the competing phases that it would decompose into",
    BOUND: "predicted formation energy above the hull of known ground states (Materials Project); others only raise it",
    COMPETING: "those of these ground states that have the lowest energy together",
    "relaxed_became": "kind of perovskite of its lowest relaxed crystal, with its tilts",
    "relaxed_above_hull": "energy of that crystal above the hull of the competing phases of that relaxation",
    "relaxed_gain": "how far that crystal is below the untilted one in energy",
    "relaxed_volume": "change of its volume from the predicted one",
    "states": "the most common oxidation states that balance; empty if none do",
    "perovskite": "kind of perovskite, with its tilts; empty if it is not one",
    GIVEN: "energy above hull that you gave for it",
    "known_as": "the compound that you already have, by name",
    "id": "its name in what was screened",
    "path": "the file it came from",
}
"""Meanings, where the run's own description is too short for a reader who has nothing but the page."""

FIRST = (
    *("formula", "id", "e_above_hull", "e_above_hull_std", "p_stable", "p_perovskite", "p_tilted", BOUND, ABOVE),
    *("decomposition", "relaxed_became", "relaxed_above_hull", "relaxed_gain", "relaxed_volume"),
    *("e_above_hull_cubic", "e_if_stays", "e_if_leaves", "p_leaves", "in_training"),
    *("known_e_above_hull", "known_id", "known_as", GIVEN, "band_gap", "band_gap_std", "states", "perovskite"),
    *("tolerance_factor", "octahedral_factor", "tau", "a_angstrom", "in_domain"),
)
"""The first columns, in this order; sites follow the formula, and other columns come after these."""

FIRST_HIDDEN = frozenset((
    *(TARGET, COMPETING, "known_is_bound", "known_source", "octahedral_factor", "radii_imputed", "domain_distance"),
    *("state_reluctance", "redox", "hhi", "path"),
))  # fmt: skip
"""Columns that are hidden until the reader shows them."""
MORE_DECIMALS = 3
"""Decimals of energies on the page; files have more."""
NUMBERS = {
    **dict.fromkeys((ABOVE, TARGET, GIVEN, "relaxed_above_hull", "relaxed_gain"), ("eV/atom", MORE_DECIMALS)),
    "relaxed_volume": ("%", 1),
}
"""Unit and decimals of numbers that arrive as texts."""


def in_order(names: Iterable[str]) -> list[str]:
    """Sort columns as the page shows them."""
    there = list(names)
    sites = [name for name in there[: there.index("e_above_hull")] if name not in {"formula", "id"}]
    order = ["formula", "id", *sites, *FIRST[2:]]
    return [name for name in order if name in there] + [name for name in there if name not in order]


def sort_words(sort: str, stable_at: float) -> str:
    """Say in words how a ranking is sorted, such as ``tau:desc,e_above_hull``."""
    keys = [key.strip().partition(":") for key in sort.split(",")]
    ways = {"asc": ", smallest first", "desc": ", largest first", "": ""}
    return ", then ".join(LABELS.get(name, name).format(stable_at=stable_at) + ways[way] for name, _, way in keys)


@dataclass(frozen=True)
class PageColumn:
    """A column as the page shows it.

    Attributes:
        name: Name in the CSV.
        label: Heading.
        unit: Unit of the values.
        meaning: Explanation for the reader.
        kind: "number", "flag" or "text".
        decimals: Decimals of numbers on the page.
        hidden: Whether it is hidden until the reader shows it.
    """

    name: str
    label: str
    unit: str
    meaning: str
    kind: str
    decimals: int
    hidden: bool


def show_value(column: Column, stable_at: float) -> PageColumn:
    """Describe a column of values of a run for the page.

    Args:
        column: The column.
        stable_at: Threshold of `p_stable`, eV/atom.
    """
    name = column.name
    decimals = min(DECIMALS.get(name, MORE_DECIMALS), MORE_DECIMALS)
    return PageColumn(
        name=name,
        label=LABELS.get(name, name).format(stable_at=stable_at),
        unit=column.unit,
        meaning=MEANINGS.get(name, column.description),
        kind="flag" if column.dtype == "bool" else "number",
        decimals=decimals,
        hidden=name in FIRST_HIDDEN,
    )


def show_text(name: str, sites: Iterable[str]) -> PageColumn:
    """Describe a column of texts for the page: formula, element on a site, id, or what came with a candidate."""
    label = LABELS.get(name, name)
    meaning = MEANINGS.get(name, f"element on {name}" if name in sites else "as it was given")
    if name in NUMBERS:
        unit, decimals = NUMBERS[name]
        return PageColumn(name, label, unit, meaning, "number", decimals, name in FIRST_HIDDEN)
    return PageColumn(name, label, "", meaning, "text", 0, name in FIRST_HIDDEN)


MOST_STRUCTURES = 1_000
"""Structures in a report of structures, the best ones; the browser builds compositions itself."""
MOST_ATOMS = 20_000
"""Atoms of all these structures, some twenty bytes each."""
MOST_TEXT = 400
"""Characters of a text, which may come from anywhere."""


def browser_data(
    survey: Survey,
    table: Ranking,
    neighbours: Neighbours | None,
    source: str = "",
    relaxed: RelaxedCandidates | None = None,
) -> dict[str, Any]:
    """Collect what the page of a report computes with, as JSON values.

    Args:
        survey: Counts of all candidates.
        table: The candidates to list.
        neighbours: Their neighbours in the training of the model; None if the training is not known.
        source: Short name of whose numbers those of the training are.
        relaxed: Candidates that were relaxed, if any were.
    """
    plan = table.plan
    prototype = PROTOTYPES.get(plan.candidates.definition.get("prototype", ""))
    return {
        "stable_at": plan.stable_at,
        "model": plan.model.name,
        "source": source,
        "filters": list(describe_filters(plan)),
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


def _table(table: Ranking, prototype: Prototype | None, relaxed: RelaxedCandidates | None) -> dict[str, Any]:
    """Collect the columns that are not empty: numbers, 0 and 1, or texts; None where there is no value."""
    values = {column.name: column for column in table.plan.candidates.ranked}
    sites = prototype.sites if prototype else ()
    values_of = table.arrays()
    del values_of["rank"]
    columns, rows = [], {"index": values_of.pop("index").tolist()}
    values_of |= {name: np.array(texts) for name, texts in (relaxed.columns(rows["index"]) if relaxed else {}).items()}
    for name in in_order(values_of):
        shown = show_value(values[name], table.plan.stable_at) if name in values else show_text(name, sites)
        cells = _cells(name, values_of[name], shown.kind)
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
    """Round a number for JSON; None if it is not finite."""
    return round(value, decimals) if np.isfinite(value) else None


def describe_filters(plan: Plan) -> Iterator[dict[str, str]]:
    """List the filters of a run: text, meaning, source, and the column that each looks at."""
    for chosen in plan.filters:
        kind = KINDS[chosen.name]
        yield {"text": str(chosen), "meaning": kind.meaning, "source": kind.source, "column": kind.column}


def _histogram(survey: Survey) -> dict[str, Any]:
    """List the counts of consecutive bins, from the first that is filled to the last."""
    filled = np.flatnonzero(survey.histogram)
    first, last = int(filled[0]), int(filled[-1])
    low = round(LOWEST + STEP * first, 9)
    return {"low": low, "step": STEP, "counts": survey.histogram[first : last + 1].tolist()}


def _pairs(survey: Survey, candidates: Candidates) -> dict[str, Any] | None:
    """Make the map of pairs: the sites, and for each pair both symbols and its best candidate; None without a map."""
    if not survey.pair:
        return None
    pairs = (divmod(key, MAX_Z + 1) for key in survey.pairs.there.tolist())
    best = _best(survey.pairs, candidates)
    return {
        "sites": list(survey.pair),
        "cells": [[SYMBOLS[a], SYMBOLS[b], *cells] for (a, b), cells in zip(pairs, best, strict=True)],
    }


def _elements(found: ByElement, candidates: Candidates) -> Iterator[list[Any]]:
    """List symbol, candidates, expected number of stable ones, and the best candidate of each element."""
    for z, cells in zip(found.best.there.tolist(), _best(found.best, candidates), strict=True):
        yield [SYMBOLS[z], int(found.count[z]), _rounded(float(found.expected[z]), 3), *cells]


def _best(best: Best, candidates: Candidates) -> Iterator[list[Any]]:
    """List energy, deviation, formula and index of the best of each kind that has one."""
    kinds = best.there
    formulas_of = candidates.formulas(best.atoms[kinds]).to_pylist() if len(kinds) else []
    for kind, formula in zip(kinds.tolist(), formulas_of, strict=True):
        numbers = (_rounded(float(value[kind]), 4) for value in (best.energy, best.deviation))
        yield [*numbers, formula, int(best.index[kind])]


def _neighbours(neighbours: Neighbours, prototype: Prototype) -> dict[str, Any]:
    """List formula, elements, energy, whether it is a bound, and id of each neighbour.

    And the nearest of each candidate.
    """
    labels = neighbours.energy.tolist(), neighbours.bound.tolist(), neighbours.ids
    rows = zip(formulas(neighbours.species, prototype).to_pylist(), neighbours.species, *labels, strict=True)
    known = [[formula, [SYMBOLS[z] for z in row], _rounded(e, 4), *more] for formula, row, e, *more in rows]
    return {"known": known, "of": neighbours.of.tolist()}


def _prototype(prototype: Prototype) -> dict[str, Any]:
    """Describe the cell of the candidates' CIF files: vectors in units of a, site and fractions of each atom."""
    cell = build(prototype, np.arange(1, len(prototype.sites) + 1, dtype=np.uint8), 1.0)
    return {
        "name": prototype.name,
        "sites": prototype.sites,
        "roles": prototype.roles,
        "atoms": [prototype.sites.index(site) for site in cell.site_properties["site"]],
        "frac": cell.frac_coords.tolist(),
        "lattice": cell.lattice.matrix.tolist(),
    }


def _structures(table: Ranking) -> Iterator[dict[str, Any]]:
    """List the best structures, as many as fit: edges in Å and angles in degrees, symbols, fractional coordinates."""
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
