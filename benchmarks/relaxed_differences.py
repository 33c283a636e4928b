r"""Makes the table of relaxed starts that a recipe's `gains` reads: how much lower than cubic a perovskite can lie.

\b
relaxed_differences.py DATA TABLE.csv                    all compositions of which only the cubic crystal was computed
relaxed_differences.py DATA TABLE.csv --within 0.4       of which it lies at most so far above the hull, eV/atom
relaxed_differences.py DATA TABLE.csv --first 40         the first 40 of them, by energy

DATA holds perovskites/mp.jsonl.xz and general/mp.jsonl.xz. The compositions are screened from their elements alone and
relaxed by `screen relax`, cubic and from three tilted starts, 3 to 10 s a compound with CHGNet on a core. What was
relaxed is kept beside the table: the same command goes on there. A start counts if it and the cubic one are relaxed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from relax import FILES, tell

from cgcnn.cli import options as command_line
from cgcnn.data.read import stream
from cgcnn.files import write_csv
from cgcnn.graphs.tilts import SYSTEMS
from cgcnn.training.curation import BOUND, ENERGY, lowest_polymorphs
from screening import open_run, screen
from screening.candidates.kind import UNTILTED
from screening.ranking.outputs import Outputs
from screening.relax.run import Relaxation, relax_run
from screening.store import StoredRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cgcnn.data.samples import Sample
    from screening.relax.opinion import Opinion

SITES = {"singles": ("A", "B", "X"), "doubles": ("A", "B", "B'", "X")}
COLUMNS = ("source_id", "A", "B", "B'", "X", "e_cubic", "tilts", "difference", "became")
PATH = click.Path(path_type=Path)


@click.command(name="relaxed_differences", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=PATH)
@click.argument("table", type=PATH)
@click.option("--within", type=float, help="eV/atom above the hull, at most, of the cubic crystal.")
@click.option("--first", type=click.IntRange(min=1), help="So many of each kind, lowest first.")
@click.option("--calculator", default="chgnet", show_default=True)
@click.option("--fmax", default=0.1, show_default=True, help="eV/Å")
@click.option("--steps", default=200, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--out", type=PATH, help="Directory to keep the relaxations in. [default: TABLE.csv.relaxed]")
@command_line.debug
def main(data: Path, table: Path, within: float | None, first: int | None, out: Path | None, **settings: float) -> None:
    """Write the table."""
    chosen = cubic_alone(stream([data / name for name in FILES]), within)
    folder = out or Path(f"{table}.relaxed")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, sites in SITES.items():
        those = [sample for sample in chosen if ("B'" in sample.labels) == ("B'" in sites)][:first]
        print(f"{len(those)} {kind}")
        if those:
            opinions = relaxed(those, folder / kind, sites, settings)
            rows += [row for sample, found in zip(those, opinions, strict=True) for row in starts(sample, found)]
    write_csv(table, list(COLUMNS), rows)
    print(f"{table}: {len(rows)} relaxed starts")


def cubic_alone(samples: Iterable[Sample], within: float | None) -> list[Sample]:
    """Select the compositions with one element on X of which only the cubic crystal was computed, lowest first."""
    bounds = [found for found in lowest_polymorphs(samples) if found.labels[BOUND] and _anion(found) is not None]
    near = [found for found in bounds if within is None or found.labels[ENERGY] <= within]
    return sorted(near, key=lambda found: (found.labels[ENERGY], found.id))


def _anion(sample: Sample) -> str | None:
    """The element on X; None where there are several."""
    (first, *others) = dict.fromkeys(
        sample.labels["X"] if isinstance(sample.labels["X"], list) else [sample.labels["X"]]
    )
    return None if others else str(first)


def relaxed(chosen: list[Sample], folder: Path, sites: tuple[str, ...], settings: dict[str, float]) -> list[Opinion]:
    """Screen and relax compositions of one kind; the results are in their order."""
    folder.mkdir(exist_ok=True)
    named = [[_anion(sample) if site == "X" else sample.labels[site] for site in sites] for sample in chosen]
    write_csv(folder / "known.csv", list(sites), named)
    url = folder / "known.zarr"
    if not url.exists():
        screen("list", file=folder / "known.csv", out=url, model="mp", filters=[], workers=1)
    with StoredRun.open(open_run(url).url) as run:
        made = relax_run(run, Relaxation(outputs=Outputs(top=len(chosen)), tilts=tuple(SYSTEMS), **settings), tell)
    return sorted(made.opinions, key=lambda opinion: int(opinion.row["index"]))


def starts(sample: Sample, opinion: Opinion) -> list[list[object]]:
    """Make the rows of a composition; none unless its cubic crystal is relaxed."""
    by_tilts = {found.tilts: found for found in opinion.relaxations if found.converged}
    cubic = by_tilts.pop(UNTILTED, None)
    if cubic is None or cubic.energy_per_atom is None:
        return []
    labels = sample.labels
    named = [sample.id, labels["A"], labels["B"], labels.get("B'", ""), _anion(sample), round(labels[ENERGY], 5)]
    return [
        [*named, tilts, round(found.energy_per_atom - cubic.energy_per_atom, 5), found.became]
        for tilts, found in sorted(by_tilts.items())
        if found.energy_per_atom is not None
    ]


if __name__ == "__main__":
    command_line.run(main, "relaxed_differences")
