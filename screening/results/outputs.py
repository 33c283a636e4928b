"""What a user takes home from a ranking: a CSV file, CIF files, a table on the terminal."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from cgcnn import files as csvfile
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from screening.candidates import structures
from screening.candidates.columns import DECIMALS
from screening.candidates.structures import Structures
from screening.cli.terminal import show, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cgcnn.graphs.prototype import Prototype
    from screening.plan import Plan
    from screening.results.ranking import Ranking

SHOWN = 20
"""Rows of the table, and CIF files, unless `--top` says otherwise."""


def formula(species: np.ndarray, prototype: Prototype) -> str:
    """Formula of one candidate, elements in the order of the sites: BaTiO3, LaTaO2N.

    Which element is on which site cannot be read from it; the site columns tell.
    """
    counts: dict[str, int] = {}
    for number in species[list(prototype.atoms)]:
        counts[SYMBOLS[number]] = counts.get(SYMBOLS[number], 0) + 1
    return "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counts.items())


def table_rows(ranking: Ranking, plan: Plan, count: int | None = None) -> Iterator[dict[str, str]]:
    """The rows of the ranked CSV as text, in order of rank; columns of a candidate file come last.

    Args:
        ranking: What to write.
        plan: Says which columns name a candidate, and which pass through.
        count: How many rows; None for all.
    """
    rows, texts = ranking.rows, plan.space.texts(ranking.rows["index"][:count].tolist())
    for i, index in enumerate(rows["index"][:count].tolist()):
        row = {"rank": str(i + 1), "index": str(index), **_name(plan, rows, i, texts.get(index, []))}
        row |= {column.name: _text(column.name, rows[column.name][i]) for column in plan.ranked}
        yield row | {_free(name, row): text for name, text in zip(plan.space.extra, texts.get(index, []), strict=False)}


def _name(plan: Plan, rows: dict[str, np.ndarray], i: int, texts: list[str]) -> dict[str, str]:
    """What names a candidate: its formula, and the elements on its sites or the id of a structure."""
    if isinstance(plan.space, Structures):
        return {"formula": structures.formula(rows["composition"][i]), "id": texts[0]}
    species, prototype = rows["species"][i], plan.prototype
    columns = {
        site: prototype.sites.index(site) if site in prototype.sites else prototype.roles.index(site)
        for site in plan.site_columns
    }
    return {
        "formula": formula(species, prototype),
        **{site: SYMBOLS[species[column]] for site, column in columns.items()},
    }


def write_csv(rows: Iterator[dict[str, str]], path: Path) -> None:
    """Write rows to a CSV file; it appears whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    first = next(rows)
    csvfile.write_csv(path, list(first), (list(row.values()) for row in chain([first], rows)))


def write_cifs(ranking: Ranking, plan: Plan, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank, formula and index.

    They have the predicted lattice constant; structures are written as they were given.

    Raises:
        UserError: The directory or a file in it cannot be written.
    """
    rows = ranking.rows
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for i in range(min(count, len(rows["index"]))):
            text, name = _cif(plan, rows, i)
            (directory / f"{i + 1:04d}-{name}-{rows['index'][i]}.cif").write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--cif {directory}: cannot be written: {error.strerror}.") from None


def _cif(plan: Plan, rows: dict[str, np.ndarray], i: int) -> tuple[str, str]:
    """A candidate as CIF, and its formula."""
    if isinstance(plan.space, Structures):
        return plan.space.cif(int(rows["index"][i])), structures.formula(rows["composition"][i])
    species, a = rows["species"][i], float(rows["a_angstrom"][i])
    return str(plan.prototype.structure(species, a).to(fmt="cif", symprec=0.01)), formula(species, plan.prototype)


def print_table(rows: Iterator[dict[str, str]], plan: Plan) -> None:
    """Print a short table of candidates to stdout."""
    names = plan.site_columns or ("id",)
    headers = {
        "rank": "rank", "formula": "formula", **{name: name for name in names},
        "e_above_hull": "E above hull (eV/atom)", "e_above_hull_std": "±", "p_stable": f"P(≤{plan.stable_at:g})",
        "a_angstrom": "a (Å)", "tolerance_factor": "t", "in_domain": "in domain", "known": "known",
    }  # fmt: skip
    there = {*names, "rank", "formula", *(column.name for column in plan.ranked)}
    headers = {name: text for name, text in headers.items() if name in there}
    shown = table({text: "left" if name in {"formula", *names} else "right" for name, text in headers.items()})
    for row in rows:
        shown.add_row(*(row[name] for name in headers))
    show(shown)


def _text(name: str, value: np.generic) -> str:
    if isinstance(value, np.bool_):
        return "true" if value else "false"
    return "" if np.isnan(value) else f"{value:.{DECIMALS[name]}f}"


def _free(name: str, taken: dict[str, str]) -> str:
    """A column name that does not hide one of ours."""
    return f"input_{name}" if name in taken else name
