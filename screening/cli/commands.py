"""The command `screen`. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cgcnn.cli import options as command_line
from cgcnn.files import find_recipe
from screening.cli.options import (
    OUTPUT,
    PATH,
    cascade_option,
    chemistry_options,
    choice_options,
    export_options,
    filter_options,
    further_filter_options,
    ranking_options,
    run_options,
    site_options,
    sort_option,
    stable_at_option,
)
from screening.cli.relax import relax_

if TYPE_CHECKING:
    from pathlib import Path

    from screening.cli.terminal import Look
    from screening.export import Export


@click.group(name="screen", cls=command_line.Group, context_settings=command_line.WIDE_HELP)
@command_line.version
def app() -> None:
    """Screen perovskites: name elements, get candidates ranked by predicted energy above hull."""


@app.command()
@site_options
@click.option("--anions", type=click.IntRange(1, 3), help="Up to so many kinds of X in one cell. [default: 1]")
@run_options
@filter_options
@cascade_option
@command_line.debug
def perovskites(**options: Any) -> int:
    """Screen every cubic ABX3 that the elements allow."""
    return _screen("perovskites", **options)


@app.command("double-perovskites")
@site_options
@run_options
@filter_options
@cascade_option
@command_line.debug
def double_perovskites(**options: Any) -> int:
    """Screen every double perovskite A2BB'X6, B and B' in rock-salt order, that the elements allow."""
    return _screen("double-perovskites", **options)


@app.command("list")
@click.argument("file", type=PATH)
@click.option("--prototype", metavar="NAME", help="cubic-perovskite or double-perovskite. [default: by the columns]")
@click.option("--strict", is_flag=True, default=None, help="Refuse a FILE with a row that is no candidate.")
@run_options
@filter_options
@command_line.debug
def list_(**options: Any) -> int:
    """Screen the candidates of a CSV FILE, columns A,B,X or A,B,X1,X2,X3 or A,B,B',X; other columns pass through.

    A row that is no candidate fails, with its reason in CSV.failures.csv.
    """
    return _screen("list", **options)


@app.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PATH)
@run_options
@filter_options
@command_line.debug
def structures(**options: Any) -> int:
    """Screen the structures of files: CIF, POSCAR, extxyz, JSON, JSON Lines, ASE databases, directories of these.

    A model of structures judges the geometry that it is given: only relaxed ones, like those that the default one,
    mp-structures, was trained on, get meaningful numbers. Others have in_domain false.
    """
    return _screen("structures", **options)


@app.command("run")
@click.argument("recipe")
@run_options
@chemistry_options
@cascade_option
@command_line.debug
def run_(recipe: str, resume: bool, dry_run: bool, accept_versions: bool, **options: Any) -> int:
    """Screen what RECIPE says: a TOML file, or a name from `screen recipes`. Options given here override it."""
    from screening.cli.screen import screen
    from screening.recipe import read_recipe

    look = _look(options)
    settings, source = read_recipe(recipe, **options), find_recipe(recipe)
    return screen(settings, look, resume=resume, dry_run=dry_run, accept_versions=accept_versions, source=source)


@app.command("rank")
@click.argument("run")
@ranking_options
@further_filter_options
@export_options
@command_line.debug
def rank_(run: str, **options: Any) -> None:
    """Rank the candidates of RUN again, without predicting again."""
    from screening.cli.screen import rank_run
    from screening.ranking.outputs import Outputs

    look, export = _look(options), _export(options)
    rank_run(run, Outputs(**{name: value for name, value in options.items() if value is not None}), look, export)


@app.command()
@click.argument("run")
@click.argument("sql")
@click.option("--csv", type=OUTPUT, metavar="FILE", help="Write the result to this CSV file; - is stdout.")
@command_line.debug
def query(run: str, sql: str, csv: Path | None) -> None:
    """Run a query of SQL over the ranked candidates of RUN.

    Such as "SELECT B, avg(e_above_hull) FROM candidates GROUP BY B ORDER BY 2". Columns are those of the ranked CSV;
    the dialect is DuckDB's.
    """
    from screening.cli.explore import print_query

    print_query(run, sql, csv)


@app.command()
@click.argument("run")
@click.option("--repair", is_flag=True, help="Mend what can be mended; --resume then redoes what is lost.")
@command_line.debug
def verify(run: str, *, repair: bool) -> int:
    """Prove that RUN holds every candidate exactly once, undamaged; exit 1 and list what is wrong otherwise."""
    from screening.campaign import check_run

    report = check_run(run, mend=repair)
    command_line.echo(report.text(), lines=True)
    return 0 if report.ok else 1


@app.command()
@click.argument("run")
@command_line.debug
def status(run: str) -> None:
    """Say how far RUN is, who is at work on it, how fast, and when it will be done."""
    from screening.cli.progress import print_state

    print_state(run)


@app.command("report")
@click.argument("run")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.html", help="The file to write.")
@click.option("--top", type=click.IntRange(min=1), help="List the best N candidates. [default: 10,000]")
@click.option(
    "--relaxed", type=PATH, metavar="DIR", help="Of `screen relax`, told too. [default: RUN-relaxed if there]"
)
@sort_option
@stable_at_option
@choice_options
@further_filter_options
@command_line.debug
def report_(run: str, output: Path, relaxed: Path | None, **options: Any) -> None:
    """Write RUN as one HTML page to explore, which works without a network.

    It has the best candidates as a table to search, sort and filter, each with a card, a turning structure and a CIF
    file; maps of all; what was screened by what model, how far to trust it, and how to cite it.
    """
    from screening.cli.screen import tell_partial
    from screening.ranking.outputs import Outputs
    from screening.report.report import report
    from screening.store import StoredRun

    with StoredRun.open(run) as opened:
        outputs = Outputs(**{name: value for name, value in options.items() if value is not None})
        notes = report(opened, output, outputs, relaxed)
        for note in notes:
            command_line.echo(f"warning: {note}.", err=True)
        tell_partial(opened)
    command_line.echo(f"{command_line.plain(str(output))} written", err=True)


@app.command()
@click.argument("what", metavar="RUN|MODEL")
@click.argument("candidate", required=False)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="Where to write maps and tables.")
@click.option("--model", metavar="NAME|PATH", help="Explain the candidates of RUN with another model than its own.")
@click.option("--top", type=click.IntRange(min=1), help="Explain the best N candidates of RUN. [default: 20]")
@command_line.debug
def explain(what: str, candidate: str | None, output: Path | None, model: str | None, top: int | None) -> None:
    """Explain a CANDIDATE of a RUN by exchanging its elements, or show what each element contributes on each site.

    `screen explain R.zarr BaZrO3` (or an index or id) says, with any model, what each element contributes, what would
    lower the energy, and which neighbours were in the training. Without a CANDIDATE, maps for A and B, and for a RUN a
    table of its best candidates, go to --output; they need a model with linear pooling, such as castelli-linear.
    """
    if candidate is not None:
        if output or model or top:
            raise click.UsageError(
                "a CANDIDATE is explained on stdout by its run's model; leave --output, --model, --top."
            )
        from screening.cli.explore import print_explanation

        print_explanation(what, candidate)
        return
    if output is None:
        raise click.UsageError("name a CANDIDATE of the run, or with --output where to write maps and tables.")
    from screening.cli.screen import tell_partial
    from screening.explain import explain_any
    from screening.store import StoredRun, exists

    files = explain_any(what, output, model, top)
    if exists(what):
        with StoredRun.open(what) as opened:
            tell_partial(opened)
    told = f"{output}: {', '.join(file.name for file in files)} written"
    command_line.echo(told, err=True)


@app.command("filters")
@command_line.debug
def filters_() -> None:
    """List the filters: their values, what passes, and whose numbers they go by."""
    from screening.cli.terminal import list_filters

    list_filters()


@app.command()
@command_line.debug
def models() -> None:
    """List the shipped models and how good they are."""
    from screening.cli.terminal import list_models

    list_models()


@app.command()
@command_line.debug
def recipes() -> None:
    """List the shipped recipes."""
    from screening.cli.terminal import list_recipes

    list_recipes()


def _screen(
    kind: str,
    *,
    resume: bool,
    dry_run: bool,
    accept_versions: bool,
    **options: Any,
) -> int:
    from screening.cli.screen import screen
    from screening.recipe import make_recipe

    look = _look(options)
    recipe = make_recipe(kind=kind, **options)
    return screen(recipe, look, resume=resume, dry_run=dry_run, accept_versions=accept_versions)


def _look(options: dict[str, Any]) -> Look:
    """Take out of the options how to show the ranking; the others say what to make of it."""
    from screening.cli.terminal import Look

    return Look(options.pop("format_"), verbose=options.pop("verbose"))


def _export(options: dict[str, Any]) -> Export | None:
    """Take out of the options what to write for other programs."""
    path, kind, tilts, cell = (options.pop(name) for name in ("export", "as_", "tilts", "cell"))
    if path is None:
        if kind or tilts or cell:
            raise click.UsageError("--as, --tilts and --cell say what --export writes; name a file or directory to it.")
        return None
    from screening.candidates.kind import UNTILTED
    from screening.export import Export

    return Export(path, kind, tilts or (UNTILTED,), conventional=cell == "conventional")


app.add_command(relax_)


def main() -> None:
    """Run the command line; see `cgcnn.cli.options.run` for the exit codes."""
    command_line.run(app, "perovscreen")
