"""A campaign from recipe to ranking: plan, run, workers, results. What the command line calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cgcnn.errors import UserError
from cgcnn.models.card import read_card
from screening import store
from screening.candidates.columns import sortable
from screening.candidates.structures import Structures
from screening.cli.progress import progress
from screening.cluster import Choice, choose, preflight, start
from screening.engine.block import Block
from screening.engine.notice import AGAIN, on_notice
from screening.engine.pipeline import COMPOSITIONS, STRUCTURES, block_rows, screen_blocks
from screening.engine.share import Share, parse_share
from screening.plan import Plan, from_header, make_plan
from screening.results.failures import tell_failures
from screening.results.ledger import dry_ledger, make_ledger
from screening.results.outputs import SHOWN, print_table, table_rows, write_cifs, write_csv
from screening.results.presentation import Outputs
from screening.results.ranking import Ranking, check_sort, rank
from screening.store import Run, Target, exists, load_header, load_records

if TYPE_CHECKING:
    from screening.recipe import Recipe


def run_campaign(recipe: Recipe, *, resume: bool, dry_run: bool) -> int:
    """Screen what a recipe says, and write and print its ranking.

    Returns:
        0, or `AGAIN` if it stopped on a notice and there is more to do.

    Raises:
        UserError: The recipe cannot be planned, or its outputs cannot be written; nothing is half-written then.
    """
    outputs = Outputs(recipe.sort, None, recipe.top, recipe.csv, recipe.cif)
    outputs.check()
    check_sort(recipe.sort, sortable(recipe.kind))
    plan = make_plan(recipe)
    if plan.unplaced:
        click.echo(
            f"note: no site suits {', '.join(plan.unplaced)}; --a, --b and --x place them all the same.", err=True
        )
    if dry_run:
        _name_model(plan, recipe)
        click.echo(dry_ledger(plan))
        return 0
    choice = choose(recipe.cluster, recipe.workers)
    preflight(choice)
    share = parse_share(recipe.share)
    with _open_run(recipe, plan, choice, share, resume=resume) as run:
        _name_model(plan, recipe)
        if not _screen_missing(run, plan, choice, share):
            click.echo(f"{_stopped(run)} on a notice of the end.", err=True)
            return AGAIN
        url = run.target.url
    with Run.open(url) as run:  # as it is now, with the shares of others
        click.echo(make_ledger(run.ledger(), plan.filters, plan.space.count), err=True)
        if run.n_committed < run.header.n_blocks:
            click.echo(f"{share} is done; {run.header.n_blocks - run.n_committed} blocks are others' to do.", err=True)
            return 0
        _present(run, plan, outputs)
    return 0


def rank_run(url: str, outputs: Outputs) -> None:
    """Rank the committed candidates of a run again.

    Raises:
        UserError: There is no run, it is damaged, or an output cannot be written.
    """
    outputs.check()
    with Run.open(url) as run:
        plan = from_header(run.header, run.records)
        check_sort(outputs.sort, [column.name for column in plan.ranked])
        _present(run, plan, outputs)


def verify_run(url: str, *, repair: bool) -> int:
    """Print what is wrong with a run, mending it if asked; 1 if there is anything, else 0.

    Raises:
        UserError: There is no run, or (to mend it) it is in use.
    """
    try:
        identity = from_header(load_header(url), load_records(url)).identity
    except UserError:  # no run, or a damaged header: the verification says which
        identity = None
    report = (store.repair if repair else store.verify)(url, identity)
    click.echo(report.text())
    return 0 if report.ok else 1


def _open_run(recipe: Recipe, plan: Plan, choice: Choice, share: Share, *, resume: bool) -> Run:
    """The run to fill: a new one, or with `resume` or as a share the one that is there."""
    url = recipe.out or f"{recipe.kind}.zarr"
    grain = STRUCTURES if isinstance(plan.space, Structures) else COMPOSITIONS
    header = plan.header(block_rows(plan.space.count, choice.workers * share.count, recipe.block_size, grain))
    if (resume or share.count > 1) and exists(url):
        return Run.resume(url, header, part=share.part, records=plan.records)
    try:
        return Run.create(url, header, part=share.part, records=plan.records)
    except UserError:
        if share.count == 1 or not exists(url):
            raise
        return Run.resume(url, header, part=share.part, records=plan.records)  # another share was quicker


def _name_model(plan: Plan, recipe: Recipe) -> None:
    """Say which model it is, why, and of which hull it speaks."""
    why = "" if recipe.model else " (default for these candidates; --model names another)"
    click.echo(f"model {plan.model.name}{why}, hull: {read_card(plan.model.path).hull}", err=True)


def _screen_missing(run: Run, plan: Plan, choice: Choice, share: Share) -> bool:
    """Screen what is not committed yet of a share; False if a notice came before all was done."""
    count = sum(1 for number in run.missing_blocks() if number in share)
    if not count:
        return True
    blocks = (Block(number, *run.header.bounds(number)) for number in run.missing_blocks() if number in share)
    todo = f"{plan.space.count:,} candidates, {count} of {run.header.n_blocks} blocks to do"
    click.echo(f"{run.target.url}: {todo}; {choice}", err=True)
    if run.device == "cpu" and choice.inference:
        click.echo("note: the run was begun on CPUs and goes on there, for a GPU rounds differently.", err=True)
    done = 0
    try:
        with on_notice() as notice, start(choice, count) as force, progress(count) as advance:
            for harvest in screen_blocks(force, _seen_from_anywhere(run.target), blocks, notice, run.device):
                run.commit(*harvest.receipts)
                done += len(harvest.receipts)
                run.tell(advance([receipt.rows for receipt in harvest.receipts], harvest.in_flight))
    except KeyboardInterrupt:
        click.echo(f"{_stopped(run)}; the same command with --resume goes on from there.", err=True)
        raise
    return done == count


def _seen_from_anywhere(target: Target) -> Target:
    """The run as workers with another working directory find it."""
    return target if "://" in target.url else replace(target, url=str(Path(target.url).absolute()))


def _stopped(run: Run) -> str:
    return f"stopped: {run.n_committed} of {run.header.n_blocks} blocks are kept"


def _present(run: Run, plan: Plan, outputs: Outputs) -> None:
    tell_failures(run, plan, outputs.csv)
    # Without --top and --csv only the rows shown are kept, whatever the size of the run.
    kept = outputs.top if outputs.top or outputs.csv else SHOWN
    plan = outputs.of(plan)
    blocks = ((rows.start, outputs.of_block(dict(rows.columns))) for rows in run.blocks(plan.read))
    ranking = rank(blocks, outputs.sort, kept)
    shown = outputs.top or SHOWN
    if outputs.csv:
        write_csv(table_rows(ranking, plan), outputs.csv)
    if outputs.cif:
        write_cifs(ranking, plan, outputs.cif, shown)
    print_table(table_rows(ranking, plan, shown), plan)
    _warn(ranking, plan)


def _warn(ranking: Ranking, plan: Plan) -> None:
    if ranking.out_of_domain:
        click.echo(
            f"warning: {ranking.out_of_domain:,} of {ranking.ranked:,} ranked candidates have an element that "
            f"{plan.model.name} never saw on this site, or at all; they rank after the others (in_domain false).",
            err=True,
        )
    if ranking.new_anions:
        click.echo(
            f"warning: {ranking.new_anions:,} of {ranking.ranked:,} ranked candidates have elements on X that "
            f"{plan.model.name} never saw together (domain_distance above 0): expect errors larger than "
            "e_above_hull_std says, or leave them out with --filter distance.",
            err=True,
        )
