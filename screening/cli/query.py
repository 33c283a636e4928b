"""A query of SQL over a run: its result as a table on stdout, or as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cgcnn.cli.options import echo, plain
from cgcnn.data.overwriting import of_csv, refuse_overwriting
from cgcnn.files import STDOUT, write_csv
from cgcnn.models.card import model_files
from screening.cli.terminal import show, table
from screening.ranking.outputs import Outputs, rank_run
from screening.store import Run

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = 20
"""Rows of a result that are shown."""
DIGITS = 6
"""Significant digits of numbers that are shown; files have all."""


def print_query(url: str, sql: str, csv: Path | None) -> None:
    """Print the first rows of the result, or write all of them as CSV.

    Raises:
        UserError: The query is wrong, there is no run, or the file cannot be written.
    """
    with Run.open(url) as run:
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
