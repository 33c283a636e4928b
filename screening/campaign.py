"""A campaign from recipe to ranking: plan, run, workers, results. What the command line calls."""

import os
from pathlib import Path

import click

from cgcnn.errors import UserError
from screening.block import Block
from screening.ledger import dry_ledger, make_ledger
from screening.output import SHOWN, print_table, table_rows, write_cifs, write_csv
from screening.pipeline import block_rows, local_cluster, screen_blocks
from screening.plan import Plan, from_header, make_plan
from screening.progress import progress
from screening.ranking import READ, Ranking, check_sort, rank
from screening.recipe import Recipe
from screening.store import Run, exists


def run_campaign(recipe: Recipe, *, resume: bool, dry_run: bool) -> None:
    """Screen what a recipe says, and write and print its ranking.

    Raises:
        UserError: the recipe cannot be planned, or its outputs cannot be written; nothing is half-written then.
    """
    plan = make_plan(recipe)
    if dry_run:
        click.echo(dry_ledger(plan))
        return
    _check_outputs(recipe.sort, recipe.csv, recipe.cif)
    with _open_run(recipe, plan, resume=resume) as run:
        _screen_missing(run, plan, _workers(recipe))
        click.echo(make_ledger(run.ledger(), plan), err=True)
        _present(run, plan, recipe.sort, recipe.top, recipe.csv, recipe.cif)


def rank_run(url: str, *, sort: str | None, top: int | None, csv: Path | None, cif: Path | None) -> None:
    """Rank the committed candidates of a run again.

    Raises:
        UserError: there is no run, it is damaged, or an output cannot be written.
    """
    sort = sort or Recipe.model_fields["sort"].default
    _check_outputs(sort, csv, cif)
    run = Run.open(url)
    _present(run, from_header(run.header), sort, top, csv, cif)


def _workers(recipe: Recipe) -> int:
    return recipe.workers or len(os.sched_getaffinity(0))


def _open_run(recipe: Recipe, plan: Plan, *, resume: bool) -> Run:
    """The run to fill: a new one, or with `resume` the one that is there."""
    url = recipe.out or f"{recipe.kind}.zarr"
    header = plan.header(block_rows(plan.space.count, _workers(recipe), recipe.block_size))
    return Run.resume(url, header) if resume and exists(url) else Run.create(url, header)


def _screen_missing(run: Run, plan: Plan, workers: int) -> None:
    count = run.header.n_blocks - run.n_committed
    if not count:
        return
    blocks = (Block(number, *run.header.bounds(number)) for number in run.missing_blocks())
    rows = f"{plan.space.count:,} candidates in {run.header.n_blocks} blocks, {count} to do"
    click.echo(f"{run.target.url}: {rows}, on {workers} workers, with model {plan.model.name}", err=True)
    with local_cluster(min(workers, count)) as client, progress(count) as advance:
        for receipt in screen_blocks(client, run.target, blocks):
            run.commit(receipt)
            advance(receipt.rows)


def _check_outputs(sort: str, csv: Path | None, cif: Path | None) -> None:
    """Find out before the work, not after it, that its results could not be written."""
    check_sort(sort)
    for option, path in (("--csv", csv), ("--cif", cif)):
        if path is None:
            continue
        folder = next(parent for parent in path.absolute().parents if option == "--csv" or parent.exists())
        if not folder.is_dir():
            raise UserError(f"{option} {path}: there is no directory {folder}. Make it, or name another place.")
        if not os.access(folder, os.W_OK):
            raise UserError(f"{option} {path}: {folder} is not writable. Name another place.")
        if path.is_dir() != (option == "--cif") and path.exists():
            raise UserError(f"{option} {path}: is {'a directory' if path.is_dir() else 'a file'}. Name another place.")


def _present(run: Run, plan: Plan, sort: str, top: int | None, csv: Path | None, cif: Path | None) -> None:
    # Without --top and --csv only the rows shown are kept, whatever the size of the run.
    kept = top if top or csv else SHOWN
    ranking = rank(((rows.start, dict(rows.columns)) for rows in run.blocks(READ)), sort, kept)
    shown = min(top or SHOWN, len(ranking.rows["index"]))
    rows = table_rows(ranking, plan)
    if csv:
        write_csv(rows, csv)
    if cif:
        write_cifs(ranking, plan.prototype, cif, shown)
    print_table(table_rows(ranking, plan, shown), plan.site_columns)
    _warn(ranking, plan)


def _warn(ranking: Ranking, plan: Plan) -> None:
    if ranking.out_of_domain:
        click.echo(
            f"warning: {ranking.out_of_domain:,} of {ranking.ranked:,} ranked candidates have an element on a site "
            f"where {plan.model.name} never saw it; they rank after the others (in_domain false).",
            err=True,
        )
