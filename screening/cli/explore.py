"""A query of SQL over a run: its result as a table on stdout, or as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cgcnn.cli.options import echo, plain
from cgcnn.data.overwriting import of_csv, refuse_overwriting
from cgcnn.files import STDOUT, write_csv
from cgcnn.models.card import model_files
from screening.cli.terminal import show, table
from screening.explain import explain_candidate
from screening.ranking.outputs import Outputs, rank_run
from screening.store import StoredRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from screening.explain import Explanation, Substitution


def print_explanation(url: str, named: str) -> None:
    """Print why a candidate of a run has its energy.

    Raises:
        UserError: As `screening.explain.explain_candidate`.
    """
    told = explain_candidate(url, named)
    energy = f"{told.energy:.3f} ± {told.deviation:.3f} eV/atom above hull ({told.model})"
    show(f"{told.formula}, candidate {told.index}: {energy}")
    for remark in _remarks(told):
        show(f"  {remark}")
    if told.contributions:
        show("")
        show("What each element contributes: the energy less the median with another element of the training there")
        lines = table({"site": "left", "element": "left", "eV/atom": "right", "place": "right"})
        for part in told.contributions:
            lines.add_row(part.role, part.element, f"{part.energy:+.3f}", f"{part.place} of {part.others}")
        show(lines)
    _print_exchanges("What would lower it: other elements that balance, the lowest first", told.better)
    _print_exchanges("Neighbours in the training: one element exchanged, the nearest in energy first", told.neighbours)


def _remarks(told: Explanation) -> list[str]:
    remarks = ["the model was trained on this very composition"] if told.known else []
    if not told.in_domain:
        remarks.append("an element that the model never saw on this site: no figure here means much")
    elif told.distance > 0:
        remarks.append("elements on X that the model never saw together: expect larger errors")
    return [*remarks, *([] if told.balanced else ["no oxidation states balance"])]


def _print_exchanges(title: str, exchanges: Sequence[Substitution]) -> None:
    if not exchanges:
        return
    show("")
    show(title)
    lines = table({"formula": "left", "exchange": "left", "E_hull (eV/atom)": "right", "in the training": "right"})
    for found in exchanges:
        label = "" if not found.known else "known" if found.label != found.label else f"{found.label:.3f}"  # NaN
        change = f"{found.role}: {found.removed} → {found.put}"
        lines.add_row(found.formula, change, f"{found.energy:.3f} ± {found.deviation:.3f}", label)
    show(lines)


SHOWN = 20
"""Rows of a result that are shown."""
DIGITS = 6
"""Significant digits of numbers that are shown; files have all."""


def print_query(url: str, sql: str, csv: Path | None) -> None:
    """Print the first rows of the result, or write all of them as CSV.

    Raises:
        UserError: The query is wrong, there is no run, or the file cannot be written.
    """
    with StoredRun.open(url) as run:
        if csv is not None and str(csv) != "-":
            refuse_overwriting([url, *model_files(run.header.model)], of_csv("csv", csv))
        found = rank_run(run, Outputs(), None).query(sql)
    rows = zip(*(column.to_pylist() for column in found.columns), strict=True)
    if csv is not None:
        write_csv(STDOUT if str(csv) == "-" else csv, found.column_names, rows)
        return
    kinds = {field.name: "left" if str(field.type) in {"string", "bool"} else "right" for field in found.schema}
    lines = table({plain(name): kind for name, kind in kinds.items()})
    for _, row in zip(range(SHOWN), rows, strict=False):
        lines.add_row(*map(_shown, row))
    show(lines)
    if len(found) > SHOWN:
        echo(f"{SHOWN} of {len(found):,} rows; --csv FILE writes all.", err=True)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else plain(str(value))
