"""Reports: a run as a single HTML page to explore, which needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cgcnn.data.overwriting import Output
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import model_files, read_card
from cgcnn.models.model import PrototypeModel
from screening.chemistry.competing import listed
from screening.engine.score import load_model
from screening.plan import from_header
from screening.ranking.outputs import rank_run
from screening.ranking.results import make_ledger
from screening.relax.folder import read_relaxed
from screening.report.data import browser_data, describe_filters, sort_words
from screening.report.neighbours import find_neighbours
from screening.report.survey import Survey, map_sites

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cgcnn.models.card import Card
    from screening.plan import Plan
    from screening.ranking.outputs import Outputs
    from screening.ranking.table import Ranking
    from screening.relax.folder import RelaxedCandidates
    from screening.report.neighbours import Neighbours
    from screening.store import StoredRun


VENDOR = ("echarts.min.js", "3Dmol.min.js")
"""Libraries; a table beside them lists versions and licences."""
SCRIPTS = (
    *("data.js", "format.js", "filters.js", "table.js", "structure.js", "cif.js", "card.js"),
    *("charts.js", "maps.js", "periodic.js", "main.js"),
)
"""Our scripts; each uses those before it."""


def fill_page(data: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    """Write the HTML of the page.

    Args:
        data: Data of its scripts, as JSON values.
        words: Values of its template.
    """
    scripts = [_asset(f"vendor/{name}") for name in VENDOR]
    scripts.append("\n".join(_asset(f"scripts/{name}") for name in SCRIPTS))
    return (
        _environment()
        .get_template("report.html")
        .render(
            **words,
            policy=_policy(scripts),
            style=Markup(_asset("report.css")),  # noqa: S704  # ours
            scripts=[Markup(script) for script in scripts],  # noqa: S704  # ours, and libraries
            data=Markup(_embedded(data)),  # noqa: S704  # no character of it ends a script
        )
    )


def _asset(name: str) -> str:
    return (files("screening.report") / "assets" / name).read_text(encoding="utf-8")


def _policy(scripts: list[str]) -> str:
    """Write the page's content security policy: it runs these scripts, and neither loads nor sends anything."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Mapping[str, Any]) -> str:
    """Write JSON in which HTML finds no markup, whatever texts it holds."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("screening.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


REASONS = 10
"""Reasons of failures that the page shows."""
LISTED = 10_000
"""Candidates that a report lists, unless `top` says otherwise."""


@dataclass(frozen=True)
class Findings:
    """Everything that a report says about a run.

    Attributes:
        plan: Plan of the run, with the requested threshold.
        survey: Counts of all its candidates.
        table: The candidates to list.
        card: Card of the model that made the run; None if that is gone or was replaced.
        neighbours: Neighbours in the training of the model; None if the training is not known.
        relaxed: Candidates that were relaxed; None without any.
        notes: Warnings about the user's competing phases.
    """

    plan: Plan
    survey: Survey
    table: Ranking
    card: Card | None
    neighbours: Neighbours | None
    relaxed: RelaxedCandidates | None
    notes: tuple[str, ...] = ()


def report(run: StoredRun, path: Path, outputs: Outputs, relaxed: Path | None = None) -> tuple[str, ...]:
    """Write the report of a run: what was screened and how, what came of it, and the best candidates.

    Args:
        run: Finished or not.
        path: The HTML file; it appears whole or not at all.
        outputs: How to rank, and how many candidates to list, by default `LISTED`.
        relaxed: Directory of a `screening.relax`, see `read_relaxed`; by default ``RUN-relaxed``, if it exists.

    Returns:
        Warnings about the user's competing phases.

    Raises:
        UserError: The run is damaged or has no candidate to rank, the directory holds no relaxations of it, or the file
            cannot be written.
    """
    outputs.check()
    outputs.spare([*model_files(run.header.model), relaxed], [Output("output", path)])
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UserError(f"`output` {path}: a directory, or in a directory that does not exist. Name another file.")
    plan = from_header(run.header, run.records)
    outputs.check_order(plan)
    kept = read_relaxed(run, relaxed)
    found = find(run, plan, replace(outputs, top=outputs.top or LISTED), kept)
    source = found.card.source if found.card else ""
    data = browser_data(found.survey, found.table, found.neighbours, source, kept)
    write_whole(path, fill_page(data, {"columns": data["columns"], **template_values(run, found, outputs)}))
    return found.notes


def find(run: StoredRun, plan: Plan, outputs: Outputs, relaxed: RelaxedCandidates | None = None) -> Findings:
    """Gather what a report says."""
    prototype = PROTOTYPES.get(plan.candidates.definition.get("prototype", ""))
    roles = (
        {"": ()} if prototype is None else {role: plan.candidates.site_groups[role] for role in prototype.role_names}
    )
    stable_at = plan.stable_at if outputs.stable_at is None else outputs.stable_at
    survey = Survey(stable_at, map_sites(plan.candidates), roles)
    table = rank_run(run, outputs, outputs.top, survey.watch)
    card = _card(run, plan)
    return Findings(table.plan, survey, table, card, _neighbours(table) if card else None, relaxed, table.notes)


def template_values(run: StoredRun, found: Findings, outputs: Outputs) -> dict[str, Any]:
    """Gather the values of the page's template."""
    plan, card = found.plan, found.card
    return {
        "title": Path(run.target.url.rstrip("/")).name,
        "header": run.header,
        "filters": list(describe_filters(plan)),
        "plan": plan,
        "card": card,
        "figures": _figures(card) if card else None,
        "ledger": make_ledger(run.ledger(), plan.filters, plan.candidates.count).counts,
        "survey": found.survey,
        "ranking": found.table.counts,
        "listed": len(found.table),
        "relaxed_with": found.relaxed.calculator if found.relaxed else "",
        "user_hull": outputs.phases.source if outputs.phases is not None else "",
        "hull_notes": found.notes,
        "choices": " ".join(_choices(outputs, plan)),
        "narrowed": bool(outputs.filters or outputs.no_filter or outputs.drop_known or outputs.group_by),
        "sorted_by": sort_words(outputs.ranked_by(plan), plan.stable_at),
        "reasons": list(islice(_reasons(run), REASONS)),
        "committed": run.n_committed,
        "cascade": _cascade(found, outputs.ranked_by(plan)),
        "pair": tuple(found.survey.pair),
    }


def _choices(outputs: Outputs, plan: Plan) -> Iterator[str]:
    """List how the candidates were ranked, as options of `screen rank`; files by name only."""
    yield f"--sort {outputs.ranked_by(plan)}"
    if outputs.stable_at is not None:
        yield f"--stable-at {outputs.stable_at:g}"
    yield from (f"--filter {text}" for text in outputs.filters)
    if outputs.group_by is not None:
        yield f"--group-by {outputs.group_by} --per-group {outputs.per_group}"
    if outputs.known is not None:
        yield f"--known {outputs.known.name}"
    yield from (f"--competing-phases {path.name}" for path in listed(outputs.competing_phases))
    for name in ("no_filter", "prefer_known", "drop_known", "exclude_self"):
        if getattr(outputs, name):
            yield f"--{name.replace('_', '-')}"


def _cascade(found: Findings, sort: str) -> str:
    """Say what the ranking of a run with a cascade may lack; empty for a run without one."""
    if found.plan.cascade is None:
        return ""
    measured = found.plan.cascade.measured
    if not measured.covers(sort):
        return f"{measured}. Ranked by {sort}, the best may be among those that it set aside."
    beyond = measured.beyond(found.table.arrays(measured.by, "in_domain"))
    lacks = f" {beyond:,} rows are beyond {measured.cut:.4f}: the cascade may have set aside some that are as good."
    return f"{measured}.{lacks if beyond else ''}"


def _card(run: StoredRun, plan: Plan) -> Card | None:
    try:
        card = read_card(plan.model.path)
    except UserError:
        return None
    return card if card.digest == run.header.model_digest else None


def _figures(card: Card) -> dict[str, Any] | None:
    """Tabulate how accurate a model's energies are, by test set; None if its card does not say."""
    rows: dict[str, dict[str, str]] = {}
    names: dict[str, None] = {}
    for metric in card.metrics:
        if metric.target == "e_above_hull":
            name = f"{metric.metric} ({metric.unit})" if metric.unit else metric.metric
            rows.setdefault(f"{metric.split}; {metric.input} input", {})[name] = f"{metric.value:.3f}"
            names[name] = None
    return {"names": list(names), "rows": rows} if rows else None


def _neighbours(table: Ranking) -> Neighbours | None:
    """Find neighbours in the training of the run's model; None for models of structures, which do not know theirs."""
    try:
        model = load_model(table.plan)
    except UserError:
        return None
    return find_neighbours(model, table.species) if isinstance(model, PrototypeModel) else None


def _reasons(run: StoredRun) -> Iterator[tuple[str, int]]:
    """Count why candidates failed, the most frequent reason first."""
    counts: dict[str, int] = {}
    for first, stop, reason in run.failures():
        counts[reason] = counts.get(reason, 0) + stop - first
    yield from sorted(counts.items(), key=lambda item: (-item[1], item[0]))
