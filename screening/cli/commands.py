"""The command `screen`. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cgcnn.cli import options as command_line
from screening.cli.relax import relax_

if TYPE_CHECKING:
    from collections.abc import Callable

    from screening.cli.ranked import Look
    from screening.results.export import Export

PATH = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path, allow_dash=True)


class Symbols(click.ParamType[tuple[str, ...]]):
    """A list of element symbols, separated by commas."""

    name = "ELEMENTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ANN401, ARG002  # click's signature
        """Split the text; whether the symbols exist is the recipe's business."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:  # noqa: ANN401  # a click decorator
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


top_option = click.option(
    "--top", type=click.IntRange(min=1), help="Keep only the best N. [default: all; 20 are shown]"
)
sort_option = click.option(
    "--sort", metavar="COLUMN[:asc|desc],…", help="Rank by these columns. [default: e_above_hull]"
)
stable_at_option = click.option(
    "--stable-at", type=float, metavar="EV", help="p_stable: P(at most EV eV/atom). [default: 0.05, or the run's]"
)
ranking_options = _together(
    top_option,
    sort_option,
    stable_at_option,
    click.option("--group-by", metavar="SITE", help="Keep only the best candidates of each element on this site."),
    click.option("--per-group", type=click.IntRange(min=1), metavar="N", help="So many of each. [default: 1]"),
    click.option("--prefer-known", is_flag=True, default=None, help="Rank training rows by their energy there."),
    click.option(
        "--known",
        type=PATH,
        metavar="FILE|DIR",
        help="Mark what you have: formulas (and ids) of a CSV or JSON file, or crystals.",
    ),
    click.option("--drop-known", is_flag=True, default=None, help="Leave out what is --known."),
    click.option(
        "--competing-phases",
        type=PATH,
        metavar="ENTRIES.json",
        help="Entries of pymatgen, as mp-api saves them: distance from the hull of these, and decomposition.",
    ),
    click.option("--csv", type=OUTPUT, metavar="FILE", help="Write the ranking to this CSV file; - is stdout."),
    click.option(
        "--cif", type=PATH, metavar="DIR", help="Write a CIF file for each candidate shown to this directory."
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "csv", "json"]),
        default="table",
        help="Of the best candidates on stdout. [default: table]",
    ),
    click.option("-v", "--verbose", is_flag=True, help="Show all columns, with all decimals."),
)
export_options = _together(
    click.option(
        "--export",
        type=PATH,
        metavar="DIR|FILE",
        help="Write the candidates shown as structures: to a directory of CIF files, or to FILE.extxyz, .db (ASE), "
        ".json (pymatgen), .jsonl (OPTIMADE); or the whole ranking to FILE.parquet.",
    ),
    click.option(
        "--as",
        "as_",
        type=click.Choice(["cif", "poscar", "extxyz", "ase-db", "json", "optimade", "parquet"]),
        help="The format of --export. [default: by the name]",
    ),
    click.option(
        "--tilts",
        type=Symbols(),
        metavar="SYSTEM,…",
        help="Turn octahedra: a-b+a-, a-a-a-, a0a0c-, or a0a0a0 for none; one structure each. [default: a0a0a0]",
    ),
    click.option("--cell", type=click.Choice(["primitive", "conventional"]), help="Of --export. [default: primitive]"),
)
run_options = _together(
    click.option("--out", metavar="RUN.zarr", help="The run to write: a path or URL. [default: COMMAND.zarr]"),
    click.option("--model", metavar="NAME|PATH", help="A shipped model or a model file. [default: by the candidates]"),
    ranking_options,
    click.option("--dry-run", is_flag=True, help="Count candidates and what the filters take; predict nothing."),
    click.option("--resume", is_flag=True, help="Go on with the run at --out where it stopped."),
    click.option("--accept-versions", is_flag=True, help="Go on also with other versions of torch, numpy, kernel."),
    click.option(
        "--cluster",
        metavar="NAME|FILE|ADDRESS",
        help="Where to work: local, slurm, a PROFILE.toml, a SCHEDULER.json or tls://HOST:PORT. [default: local]",
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Worker processes. [default: one a core]"),
    click.option("--share", metavar="K/N", help="Do the K-th of N shares of the run; others do the rest meanwhile."),
)
site_options = _together(
    click.option("--elements", type=Symbols(), help="Elements to use; chemistry works out who may sit where."),
    click.option("--a", type=Symbols(), help="Elements of site A."),
    click.option("--b", type=Symbols(), help="Elements of site B, and of B' if there is one."),
    click.option("--x", type=Symbols(), help="Elements of site X."),
)
chemistry_options = _together(
    click.option(
        "--filter", "filters", multiple=True, metavar="NAME[=VALUE]", help="Only what passes; `screen filters`."
    ),
    click.option("--no-filter", is_flag=True, help="Filter nothing."),
    click.option(
        "--oxidation-states",
        metavar="SET|FILE.csv",
        help="common, icsd, all, or your own: columns element,state. [default: icsd]",
    ),
)
cascade_option = click.option(
    "--cascade",
    is_flag=True,
    default=None,
    help="Of millions: a small network looks at all, the model at what may reach the best 1 %.",
)
filter_options = _together(
    chemistry_options,
    click.option("--block-size", type=click.IntRange(min=1), help="Candidates a block. [default: by the space's size]"),
)


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
def perovskites(**options: Any) -> int:  # noqa: ANN401  # the recipe checks them
    """Screen every cubic ABX3 that the elements allow."""
    return _screen("perovskites", **options)


@app.command("double-perovskites")
@site_options
@run_options
@filter_options
@cascade_option
@command_line.debug
def double_perovskites(**options: Any) -> int:  # noqa: ANN401  # the recipe checks them
    """Screen every double perovskite A2BB'X6, B and B' in rock-salt order, that the elements allow."""
    return _screen("double-perovskites", **options)


@app.command("list")
@click.argument("file", type=PATH)
@click.option("--prototype", metavar="NAME", help="cubic-perovskite or double-perovskite. [default: by the columns]")
@click.option("--strict", is_flag=True, default=None, help="Refuse a FILE with a row that is no candidate.")
@run_options
@filter_options
@command_line.debug
def list_(**options: Any) -> int:  # noqa: ANN401  # the recipe checks them
    """Screen the candidates of a CSV FILE, columns A,B,X or A,B,X1,X2,X3 or A,B,B',X; other columns pass through.

    A row that is no candidate fails, with its reason in CSV.failures.csv.
    """
    return _screen("list", **options)


@app.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=PATH)
@run_options
@filter_options
@command_line.debug
def structures(**options: Any) -> int:  # noqa: ANN401  # the recipe checks them
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
def run_(recipe: str, resume: bool, dry_run: bool, accept_versions: bool, **options: Any) -> int:  # noqa: ANN401  # click passes flags so
    """Screen what RECIPE says: a TOML file, or a name from `screen recipes`. Options given here override it."""
    from screening.cli.screen import screen
    from screening.recipe import read_recipe

    chosen = _filters(options.pop("filters"), no_filter=options.pop("no_filter"))
    look = _look(options)
    settings = read_recipe(recipe, filters=chosen, **options)
    return screen(settings, look, resume=resume, dry_run=dry_run, accept_versions=accept_versions)


@app.command("rank")
@click.argument("run")
@ranking_options
@click.option("--filter", "filters", multiple=True, metavar="NAME[=VALUE]", help="Only what passes this, too.")
@click.option(
    "--no-filter", is_flag=True, help="Also what RUN's filters of predictions (hull, gap, perovskite) left out."
)
@export_options
@command_line.debug
def rank_(run: str, **options: Any) -> None:  # noqa: ANN401  # the ranking checks them
    """Rank the candidates of RUN again, without predicting again."""
    from screening.cli.screen import rank_run
    from screening.results.outputs import Outputs

    look, export = _look(options), _export(options)
    rank_run(run, Outputs(**{name: value for name, value in options.items() if value is not None}), look, export)


@app.command()
@click.argument("run")
@click.option("--repair", is_flag=True, help="Mend what can be mended; --resume then redoes what is lost.")
@command_line.debug
def verify(run: str, *, repair: bool) -> int:
    """Prove that RUN holds every candidate exactly once, undamaged; exit 1 and list what is wrong otherwise."""
    from screening.campaign import check_run

    report = check_run(run, mend=repair)
    click.echo(command_line.plain(report.text()))
    return 0 if report.ok else 1


@app.command()
@click.argument("run")
@command_line.debug
def status(run: str) -> None:
    """Say how far RUN is, who is at work on it, how fast, and when it will be done."""
    from screening.cli.status import print_state

    print_state(run)


@app.command("report")
@click.argument("run")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.html", help="The file to write.")
@click.option("--top", type=click.IntRange(min=1), help="List the best N candidates. [default: 10,000]")
@sort_option
@stable_at_option
@command_line.debug
def report_(run: str, output: Path, **options: Any) -> None:  # noqa: ANN401  # the report checks them
    """Write RUN as one HTML page to explore, which works without a network.

    It has the best candidates as a table to search, sort and filter, each with a card, a turning structure and a CIF
    file; maps of all; what was screened by what model, how far to trust it, and how to cite it.
    """
    from screening.cli.screen import tell_partial
    from screening.results.outputs import Outputs
    from screening.results.report import report
    from screening.store import Run

    with Run.open(run) as opened:
        report(opened, output, Outputs(**{name: value for name, value in options.items() if value is not None}))
        tell_partial(opened)
    click.echo(f"{command_line.plain(str(output))} written", err=True)


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
        from screening.cli.explain import print_explanation

        print_explanation(what, candidate)
        return
    if output is None:
        raise click.UsageError("name a CANDIDATE of the run, or with --output where to write maps and tables.")
    from screening.cli.screen import tell_partial
    from screening.results.explain import explain_any
    from screening.store import Run, exists

    files = explain_any(what, output, model, top)
    if exists(what):
        with Run.open(what) as opened:
            tell_partial(opened)
    told = f"{output}: {', '.join(file.name for file in files)} written"
    click.echo(command_line.plain(told), err=True)


@app.command("filters")
@command_line.debug
def filters_() -> None:
    """List the filters: their values, what passes, and whose numbers they go by."""
    from screening.cli.listing import list_filters

    list_filters()


@app.command()
@command_line.debug
def models() -> None:
    """List the shipped models and how good they are."""
    from screening.cli.listing import list_models

    list_models()


@app.command()
@command_line.debug
def recipes() -> None:
    """List the shipped recipes."""
    from screening.cli.listing import list_recipes

    list_recipes()


def _screen(
    kind: str,
    *,
    filters: tuple[str, ...],
    no_filter: bool,
    resume: bool,
    dry_run: bool,
    accept_versions: bool,
    **options: Any,  # noqa: ANN401  # the recipe checks them
) -> int:
    from screening.cli.screen import screen
    from screening.recipe import make_recipe

    look = _look(options)
    recipe = make_recipe(kind=kind, filters=_filters(filters, no_filter=no_filter), **options)
    return screen(recipe, look, resume=resume, dry_run=dry_run, accept_versions=accept_versions)


def _look(options: dict[str, Any]) -> Look:
    """Take out of the options how to show the ranking; the others say what to make of it."""
    from screening.cli.ranked import Look

    return Look(options.pop("format_"), verbose=options.pop("verbose"))


def _export(options: dict[str, Any]) -> Export | None:
    """Take out of the options what to write for other programs."""
    path, kind, tilts, cell = (options.pop(name) for name in ("export", "as_", "tilts", "cell"))
    if path is None:
        if kind or tilts or cell:
            raise click.UsageError("--as, --tilts and --cell say what --export writes; name a file or directory to it.")
        return None
    from screening.candidates.kind import UNTILTED
    from screening.results.export import Export

    return Export(path, kind, tilts or (UNTILTED,), conventional=cell == "conventional")


def _filters(filters: tuple[str, ...], *, no_filter: bool) -> tuple[str, ...] | None:
    """The filters of a recipe; None leaves them to it."""
    if filters and no_filter:
        raise click.UsageError("--filter and --no-filter exclude each other.")
    return () if no_filter else (filters or None)


app.add_command(relax_)


def main() -> None:
    """Run the command line; see `cgcnn.cli.options.run` for the exit codes."""
    command_line.run(app, "perovscreen")
