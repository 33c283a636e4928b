"""What the commands that screen and rank do and say: notes and the ledger to stderr, the best candidates to stdout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cgcnn.cli.options import plain
from cgcnn.files import STDOUT
from cgcnn.models.card import read_card
from cgcnn.network.choice import note_slowness
from screening.campaign import run_campaign
from screening.candidates.default_model import RULE
from screening.chemistry.filters import KINDS, parse_filter
from screening.cli.progress import Listener
from screening.cli.ranked import Look, print_ranking
from screening.engine.cascade import ranked_by
from screening.engine.share import parse_share
from screening.plan import Plan, make_plan
from screening.results.ledger import dry_ledger, make_ledger
from screening.results.outputs import Outputs, Presented, asked_of, present
from screening.status import Status
from screening.store import Run

if TYPE_CHECKING:
    from screening.candidates.cascade import Measured
    from screening.recipe import Recipe
    from screening.results.exports.export import Export
    from screening.results.ranking import Ranking

AGAIN = 75
"""Exit code of a screen that stopped on a notice and has more to do (EX_TEMPFAIL of sysexits.h)."""


def screen(recipe: Recipe, look: Look, *, resume: bool, dry_run: bool, accept_versions: bool) -> int:
    """Screen what a recipe says, and write and print its ranking; the exit code.

    Raises:
        UserError: The recipe cannot be planned, or its outputs cannot be written; nothing is half-written then.
    """
    outputs = _spoken(asked_of(recipe))
    outputs.check(fresh=not resume and not dry_run)
    parse_share(recipe.share)  # a wrong one is told before anything is read
    plan = make_plan(recipe)
    outputs.check_order(outputs.of(plan))
    outputs.groups(outputs.of(plan))
    if plan.unplaced:
        without = ", ".join(plan.unplaced)
        click.echo(f"note: no site suits {without}; --a, --b and --x place them all the same.", err=True)
    if dry_run:
        _name_model(plan, default=recipe.model is None)
        click.echo(dry_ledger(plan))
        if recipe.cascade:
            ranked_by(recipe.sort)
            click.echo(
                "note: a dry run fits no student; most of the ok ones will be set aside by the cascade.", err=True
            )
        return 0
    with Listener(lambda: _name_model(plan, default=recipe.model is None)) as listener:
        campaign = run_campaign(recipe, plan=plan, resume=resume, accept_versions=accept_versions, progress=listener)
    if not campaign.done:
        return AGAIN
    with Run.open(campaign.url) as run:
        click.echo(make_ledger(run.ledger(), plan.filters, plan.candidates.count), err=True)
        if not campaign.complete:
            left = campaign.blocks - campaign.committed
            click.echo(f"{campaign.share} is done; {left} blocks are others' to do.", err=True)
            return 0
        _tell(present(run, outputs), outputs, look)
    return 0


def rank_run(url: str, outputs: Outputs, look: Look, export: Export | None = None) -> None:
    """Rank the committed candidates of a run again; print the best.

    Raises:
        UserError: There is no run, it is damaged, or an output cannot be written.
    """
    outputs = _spoken(outputs)
    outputs.check()
    if export:
        export.check()
    with Run.open(url) as run:
        tell_partial(run)
        if export:
            _tell_export(run, outputs, export)
        if outputs.no_filter:
            _tell_unpredicted(run)
        _tell(present(run, outputs), outputs, look)


def _tell_unpredicted(run: Run) -> None:
    """Say how many candidates no ranking can bring back."""
    names = run.header.filters
    codes = (Status.FILTERED + k for k, name in enumerate(names) if not KINDS[parse_filter(name).name].predicted)
    ledger = run.ledger()
    if count := sum(ledger.get(code, 0) for code in codes):
        click.echo(
            f"note: {count:,} candidates were left out before they were predicted; a screen with --no-filter has them.",
            err=True,
        )


def _tell_export(run: Run, outputs: Outputs, export: Export) -> None:
    from screening.results.exports.export import export_run

    count = export_run(run, outputs, export)
    what = "rows" if export.kind == "parquet" else "structures"
    click.echo(plain(f"{export.path}: {count:,} {what} written ({export.kind})"), err=True)


def tell_partial(run: Run) -> None:
    """Say of an unfinished run that what is made of it is partial."""
    done, blocks = run.n_committed, run.header.n_blocks
    if done < blocks:
        click.echo(f"{plain(run.target.url)}: {done:,} of {blocks:,} blocks: partial.", err=True)


def _name_model(plan: Plan, *, default: bool) -> None:
    """Say which model it is, why, and of which hull it speaks; also if predictions will be slow."""
    why = f" (by default {RULE}; --model names another)" if default else ""
    card = read_card(plan.model.path)
    zero = "an energy of 0 is stable against all phases of this hull, below 0 against them by so much"
    click.echo(plain(f"model {plan.model.name}{why}, hull: {card.hull}; {zero}"), err=True)
    if slow := note_slowness(card.settings, candidates=card.input == "prototype"):
        click.echo(f"note: {slow}", err=True)
    if chosen := ", ".join(map(str, plan.filters)):
        click.echo(plain(f"filters {chosen} (`screen filters` explains; --no-filter takes none)"), err=True)


def _spoken(outputs: Outputs) -> Outputs:
    """What the command line asks for: there `-` is stdout."""
    return replace(outputs, csv=STDOUT) if outputs.csv == Path("-") else outputs


def _tell(made: Presented, outputs: Outputs, look: Look) -> None:
    if failed := made.failures:
        where = f"; {failed.file} has all reasons" if failed.file else ""
        click.echo(plain(f"{failed.count:,} failed, the first is {failed.first}: {failed.reason}{where}"), err=True)
    if outputs.csv != STDOUT:
        print_ranking(made, outputs.shown, look)
    if outputs.phases is not None:
        where = "e_above_user_hull: predicted formation energy above the hull of"
        click.echo(plain(f"{where} {outputs.phases.source}"), err=True)
    _warn(made)
    if cascade := made.plan.cascade:
        _tell_cascade(cascade.measured, made.ranking, outputs.ranked_by(made.plan))


def _tell_cascade(measured: Measured, ranking: Ranking, sort: str) -> None:
    """Say what the ranking of a run with a cascade lacks."""
    click.echo(str(measured), err=True)
    if not measured.covers(sort):
        click.echo(
            f"warning: this ranking by {sort} lacks what the cascade by {measured.by} has set aside, its best perhaps "
            "too; another run without --cascade has all.",
            err=True,
        )
    elif beyond := measured.beyond(ranking.rows):
        click.echo(
            f"warning: {beyond:,} rows of the ranking are beyond {measured.cut:.4f}; candidates as good as these may "
            "have been set aside.",
            err=True,
        )


def _warn(made: Presented) -> None:
    ranking, model = made.ranking, made.plan.model.name
    if ranking.out_of_domain:
        sites = made.plan.candidates.site_groups
        never = "never saw on this site, or at all" if sites else "never saw, or are unlike all that it saw"
        click.echo(
            f"warning: {ranking.out_of_domain:,} of {ranking.ranked:,} ranked candidates have an element that "
            f"{model} {never}; they rank after the others (in_domain false).",
            err=True,
        )
    if ranking.new_anions:
        click.echo(
            f"warning: {ranking.new_anions:,} of {ranking.ranked:,} ranked candidates have elements on X that "
            f"{model} never saw together (domain_distance above 0): expect errors larger than "
            "e_above_hull_std says, or leave them out with --filter distance.",
            err=True,
        )
