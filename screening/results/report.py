"""A report: a run as one HTML file that needs no other."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.models.card import Card, read_card
from screening.plan import Plan, from_header
from screening.results import figures
from screening.results.ledger import make_ledger
from screening.results.ranking import check_sort, rank
from screening.results.survey import Survey
from screening.results.tables import table_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.results.outputs import Outputs
    from screening.store import Run

REASONS = 10
"""Reasons of failures that are shown."""


def report(run: Run, path: Path, outputs: Outputs) -> None:
    """Write the report of a run: what was screened by what, what became of it, and the best candidates.

    Args:
        run: Finished or not.
        path: The HTML file; it appears whole or not at all.
        outputs: How to rank, and how many candidates to list.

    Raises:
        UserError: The run is damaged or has no candidate to rank, or the file cannot be written.
    """
    outputs.check()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"`output` {path}: cannot be written; it is a directory, or in none. Name another place.")
    plan = from_header(run.header, run.records)
    check_sort(outputs.sort, [column.name for column in plan.candidates.ranked])
    page = _page(run, outputs.of(plan), outputs, path)
    write_whole(path, page)


def _page(run: Run, plan: Plan, outputs: Outputs, path: Path) -> str:
    sites = plan.candidates.map_sites
    survey, card = Survey(plan.stable_at, tuple(sites.values())), _card(run, plan)
    ranking = rank(survey.watch(outputs.blocks(run, plan)), outputs.order, outputs.shown, outputs.groups(plan))
    return _template().render(
        title=Path(run.target.url.rstrip("/")).name,
        header=run.header,
        plan=plan,
        card=card,
        metrics=[metric for metric in card.metrics if metric.target == "e_above_hull"] if card else [],
        ledger=make_ledger(run.ledger(), plan.filters, plan.candidates.count).counts,
        survey=survey,
        ranking=ranking,
        rows=list(table_rows(ranking, plan.candidates)),
        sort=outputs.sort,
        reasons=list(islice(_reasons(run), REASONS)),
        distribution=figures.distribution(survey, path),
        best_of_pairs=figures.best_of_pairs(survey, tuple(sites), path),
        pair=tuple(sites),
        committed=run.n_committed,
    )


def _card(run: Run, plan: Plan) -> Card | None:
    """The card of the model that made the run; None if it is not there any more, or is another now."""
    try:
        card = read_card(plan.model.path)
    except UserError:
        return None
    return card if card.digest == run.header.model_digest else None


def _reasons(run: Run) -> Iterator[tuple[str, int]]:
    """Why candidates failed, and how many, the most frequent first."""
    counts: dict[str, int] = {}
    for first, stop, reason in run.failures():
        counts[reason] = counts.get(reason, 0) + stop - first
    yield from sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("screening.results", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
