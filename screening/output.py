"""What a user takes home from a ranking: a CSV file, CIF files, a table on the terminal."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.prototype import Prototype
from screening.columns import DECIMALS, SORTABLE
from screening.plan import Plan
from screening.ranking import Ranking
from screening.terminal import show, table

SHOWN = 20
"""Rows of the table, and CIF files, unless `--top` says otherwise."""


def formula(numbers: np.ndarray) -> str:
    """Formula of one candidate, elements in the order of the sites: BaTiO3, LaTaO2N.

    Which element is on which site cannot be read from it; the site columns tell.
    """
    counts: dict[str, int] = {}
    for number in numbers:
        counts[SYMBOLS[number]] = counts.get(SYMBOLS[number], 0) + 1
    return "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counts.items())


def table_rows(ranking: Ranking, plan: Plan, count: int | None = None) -> Iterator[dict[str, str]]:
    """The rows of the ranked CSV as text, in order of rank; columns of a candidate file come last.

    Args:
        ranking: what to write.
        plan: says which sites have columns, and which columns pass through.
        count: how many rows; None for all.
    """
    sites, extra, prototype = plan.site_columns, plan.extra, plan.prototype
    wanted = [prototype.sites.index(site) if site in prototype.sites else prototype.roles.index(site) for site in sites]
    rows = ranking.rows
    for i, index in enumerate(rows["index"][:count]):
        species = rows["species"][i]
        row = {"rank": str(i + 1), "index": str(index), "formula": formula(species)}
        row |= {site: SYMBOLS[species[column]] for site, column in zip(sites, wanted, strict=True)}
        row |= {column.name: _text(column.name, rows[column.name][i]) for column in SORTABLE}
        yield row | {_free(name, row): texts[index] for name, texts in extra.items()}


def write_csv(rows: Iterator[dict[str, str]], path: Path) -> None:
    """Write rows to a CSV file; it appears whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    first = next(rows)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(first), lineterminator="\n")
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"--csv {path}: cannot be written: {error.strerror}.") from None


def write_cifs(ranking: Ranking, prototype: Prototype, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank and formula, with the predicted lattice constant.

    Raises:
        UserError: the directory or a file in it cannot be written.
    """
    rows = ranking.rows
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for i in range(min(count, len(rows["index"]))):
            species, a = rows["species"][i], float(rows["a_angstrom"][i])
            path = directory / f"{i + 1:04d}-{formula(species)}-{rows['index'][i]}.cif"
            prototype.structure(species, a).to(str(path), fmt="cif", symprec=0.01)
    except OSError as error:
        raise UserError(f"--cif {directory}: cannot be written: {error.strerror}.") from None


def print_table(rows: Iterator[dict[str, str]], plan: Plan) -> None:
    """Print a short table of candidates to stdout."""
    sites = plan.site_columns
    headers = {
        "rank": "rank", "formula": "formula", **{site: site for site in sites},
        "e_above_hull": "E above hull (eV/atom)", "e_above_hull_std": "±", "p_stable": f"P(≤{plan.stable_at:g})",
        "a_angstrom": "a (Å)", "tolerance_factor": "t", "in_domain": "in domain", "known": "known",
    }  # fmt: skip
    shown = table({text: "left" if name in {"formula", *sites} else "right" for name, text in headers.items()})
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
