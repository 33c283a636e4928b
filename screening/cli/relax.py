"""The command `screen relax`: a second opinion on the best candidates of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cgcnn.cli import options as command_line
from screening.cli.options import sort_option

if TYPE_CHECKING:
    from screening.relax.opinion import Opinion
    from screening.relax.run import RelaxationProgress, SecondOpinion

AGAIN = 75
"""Exit code where a notice came and more is to do, as of a screen."""
NONE = "-"
RANKED = ("top", "sort", "filters")
"""Options that say how to rank."""


@click.command("relax")
@click.argument("run")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Relax the best N candidates. [default: 20]")
@sort_option
@click.option("--filter", "filters", multiple=True, metavar="NAME[=VALUE]", help="Only of what passes this, too.")
@click.option(
    "--calculator",
    metavar="chgnet|MODULE:FACTORY",
    help="Of ASE: CHGNet, or what your function FACTORY of MODULE returns. [default: chgnet]",
)
@click.option(
    "--tilts",
    metavar="SYSTEM,…",
    help="Starts of each candidate: a0a0a0 (cubic), a-b+a-, a-a-a-, a0a0c-. [default: all of these]",
)
@click.option(
    "--competing-phases",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE|DIR",
    help="Entries of pymatgen: how far above the hull of these what was relaxed is. Repeat for several.",
)
@click.option(
    "--exclude-self",
    is_flag=True,
    default=None,
    help="Leave the compound itself out of that hull.",
)
@click.option("--fmax", type=float, metavar="EV/Å", help="Relaxed when no force is larger. [default: 0.05]")
@click.option("--steps", type=click.IntRange(min=1), help="At most so many a relaxation. [default: 500]")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="For the results. [default: RUN-relaxed]")
@click.option("--cluster", metavar="NAME|FILE|ADDRESS", help="Where to work, as of a screen. [default: local]")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes. [default: one a core]")
@command_line.debug
def relax_(run: str, **options: Any) -> int:
    """Relax the best candidates of RUN, cubic and tilted, with a calculator of ASE, and compare with the model.

    DIR gets candidates.csv, relaxations.csv, the relaxed crystals as CIF files, and each relaxation as JSON. The same
    command goes on where it stopped; with a larger N it relaxes only what is new.
    """
    from screening.cli.screen import tell_partial
    from screening.ranking.outputs import Outputs
    from screening.relax.run import Relaxation, relax_run
    from screening.store import StoredRun

    given = {name: value for name, value in options.items() if value not in {None, ()}}
    ranked = Outputs(**{name: given.pop(name) for name in RANKED if name in given})
    if "tilts" in given:
        given["tilts"] = tuple(part.strip() for part in given["tilts"].split(","))
    with StoredRun.open(run) as opened:
        tell_partial(opened)
        made = relax_run(opened, Relaxation(outputs=ranked, **given), _tell)
    _print(made)
    return AGAIN if made.left else 0


def _tell(progress: RelaxationProgress) -> None:
    """Print a line on stderr for each relaxation."""
    found = progress.result
    named = f"{found.formula} {found.tilts}".strip()
    said = found.reason or f"{found.energy_per_atom:.4f} eV/atom, {found.became or 'no perovskite'}"
    done = f"{progress.done} of {progress.total}: {named}: {said}; {found.steps} steps, {found.seconds:.0f} s"
    command_line.echo(done, err=True)


def _print(made: SecondOpinion) -> None:
    from screening.cli.terminal import room, show, table

    heads = {"rank": "right", "formula": "left", "E_hull": "right", "P(tilted)": "right", "start": "left"}
    last = "E_user" if made.opinions[0].phases else "a (Å)"
    lines = table(heads | {"became": "left", "gain": "right", "ΔV (%)": "right", last: "right"})
    for opinion in made.opinions:
        lines.add_row(*map(command_line.plain, _cells(opinion)))
    show(lines, max(room(), 80))
    for note in made.notes:
        command_line.echo(f"warning: {note}.", err=True)
    for agreement in made.agreements:
        command_line.echo(f"{agreement.what}: {agreement.figure}, of {agreement.count}", err=True)
    command_line.echo(f"{made.calculator}; gain: by tilting, meV/atom. {_failures(made)}", err=True)
    command_line.echo(f"{made.folder}: candidates.csv, relaxations.csv, cif/", err=True)
    if made.left:
        command_line.echo(
            f"stopped on a notice of the end; {made.left} relaxations are left, the same again does them.", err=True
        )


def _cells(opinion: Opinion) -> tuple[str, ...]:
    won, row = opinion.won, opinion.row
    above = opinion.above
    last = (above.energy if above else None) if opinion.phases else opinion.a
    became = (won.became.removeprefix("single ") or "no perovskite") if won else opinion.reason
    said = became if won is None or won.converged else f"{became} (not relaxed)"
    return (
        str(opinion.rank),
        str(row["formula"]),
        _number(row["e_above_hull"], 3),
        _number(row.get("p_tilted"), 2),
        (won.tilts or "given") if won else NONE,
        said,
        _number(1000 * opinion.gain, 0),
        _number(100 * opinion.volume_change, 1),
        _number(last, 3),
    )


def _failures(made: SecondOpinion) -> str:
    found = [result for opinion in made.opinions for result in opinion.relaxations]
    failed = sum(not result.converged for result in found)
    return f"{failed} of {len(found)} relaxations did not end well, see relaxations.csv" if failed else "all relaxed"


def _number(value: float | None, places: int) -> str:
    return NONE if value is None or value != value else f"{value:.{places}f}"  # noqa: PLR0124  # NaN
