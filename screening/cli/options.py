"""Options that several commands of `screen` share, together as their help lists them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = click.Path(path_type=Path)
OUTPUT = click.Path(path_type=Path, allow_dash=True)


class Symbols(click.ParamType[tuple[str, ...]]):
    """A list of element symbols, separated by commas."""

    name = "ELEMENTS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002  # click's signature
        """Split the text; whether the symbols exist is the recipe's business."""
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorator: several options, in the order of their help."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


top_option = click.option(
    "--top", type=click.IntRange(min=1), help="Keep only the best N. [default: all; 20 are shown]"
)
sort_option = click.option(
    "--sort",
    metavar="COLUMN[:asc|desc],…",
    help="Rank by these columns. [default: as the run was ranked; at first e_above_hull]",
)
stable_at_option = click.option(
    "--stable-at", type=float, metavar="EV", help="p_stable: P(at most EV eV/atom). [default: 0.05, or the run's]"
)
choice_options = together(
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
        multiple=True,
        metavar="FILE|DIR",
        help="Add the distance from the hull of your own phases, and the decomposition: entries of pymatgen, as mp-api "
        "saves them. Repeat for several.",
    ),
    click.option(
        "--exclude-self",
        is_flag=True,
        default=None,
        help="Leave the compound itself out of that hull: stable ones get how far below the others they lie.",
    ),
    click.option(
        "--hull-check",
        type=click.IntRange(min=0),
        metavar="N",
        help="Check the first N rows against competing phases of the Materials Project (column hull_bound). "
        "[default: 1000]",
    ),
)
ranking_options = together(
    top_option,
    sort_option,
    stable_at_option,
    choice_options,
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
further_filter_options = together(
    click.option("--filter", "filters", multiple=True, metavar="NAME[=VALUE]", help="Keep only what passes this, too."),
    click.option(
        "--no-filter",
        is_flag=True,
        help="Leave out RUN's filters of predictions (hull, gap, perovskite); --filter adds.",
    ),
)
export_options = together(
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
run_options = together(
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
    click.option("--share", metavar="K/N", help="Do the K-th of N shares of the run, then those that nobody does."),
)
site_options = together(
    click.option("--elements", type=Symbols(), help="Elements to use; chemistry works out who may sit where."),
    click.option("--a", type=Symbols(), help="Elements of site A."),
    click.option("--b", type=Symbols(), help="Elements of site B, and of B' if there is one."),
    click.option("--x", type=Symbols(), help="Elements of site X."),
)
chemistry_options = together(
    click.option(
        "--filter",
        "filters",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Keep only what passes this, too; `screen filters`.",
    ),
    click.option(
        "--no-filter",
        is_flag=True,
        default=None,
        help="Leave out the default filters, or those of a recipe; --filter adds.",
    ),
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
filter_options = together(
    chemistry_options,
    click.option("--block-size", type=click.IntRange(min=1), help="Candidates a block. [default: by the space's size]"),
)
