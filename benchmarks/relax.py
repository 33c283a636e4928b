r"""Whether relaxed starts find the perovskites that the Materials Project has: tilts, volumes, energies.

\b
relax.py DATA                             50 compounds of DATA/perovskites/mp.jsonl.xz and DATA/general/mp.jsonl.xz
relax.py DATA --calculator module:name    by another calculator than CHGNet
relax.py DATA --out DIR                   keep what was relaxed; the same command goes on there

Compounds are drawn from the single perovskites within 0.05 eV/atom of the hull whose cubic crystal was computed and
some other one, too, so that what is lowest is known. They are screened from their elements alone, and relaxed by
`screen relax` from its four starts.
"""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from cgcnn.cli import options as command_line
from cgcnn.data.crystal import structure
from cgcnn.data.read import stream
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.graphs.perovskite import Perovskite, find_perovskite
from cgcnn.training.curation import perovskite_columns
from screening import open_run, screen
from screening.ranking.outputs import Outputs
from screening.relax.run import Relaxation, RelaxationProgress, relax_run
from screening.store import StoredRun

if TYPE_CHECKING:
    from screening.relax.opinion import Opinion

FILES = ("perovskites/mp.jsonl.xz", "general/mp.jsonl.xz")
NEAR_HULL = 0.05  # eV/atom
ALIKE = 0.002  # eV/atom; starts that end within it are the same answer
PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Compound:
    """What the Materials Project has of a compound.

    Attributes:
        sites: Symbols on A, B, X.
        lowest: Its lowest polymorph.
        gain: How much lower that is than the cubic crystal, eV/atom.
    """

    sites: tuple[str, str, str]
    lowest: Perovskite
    gain: float


@click.command(name="relax", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=PATH)
@click.option("--compounds", default=50, show_default=True)
@click.option("--calculator", default="chgnet", show_default=True)
@click.option("--fmax", default=0.1, show_default=True, help="eV/Å")
@click.option("--steps", default=200, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--out", type=PATH, help="Directory to keep the relaxations in.")
@command_line.debug
def main(data: Path, compounds: int, seed: int, out: Path | None, **settings: float) -> None:
    """Print the figures."""
    known = known_compounds(data)
    chosen = random.Random(seed).sample(known, min(compounds, len(known)))  # noqa: S311  # a sample, no secret
    print(f"{len(chosen)} of {len(known)} compounds, seed {seed}, {settings}")
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        opinions = relaxed(chosen, Path(out or scratch), settings)
    results = [found for opinion in opinions for found in opinion.relaxations]
    print(f"{time.perf_counter() - begun:.0f} s here; {sum(found.seconds for found in results):.0f} s of relaxing")
    print(f"{sum(found.converged for found in results)} of {len(results)} relaxations ended well")
    for line in figures(chosen, opinions):
        print(line)


def known_compounds(data: Path) -> list[Compound]:
    """The compounds to draw from."""
    found: dict[tuple[str, str, str], list[tuple[float, Perovskite]]] = {}
    for sample in stream([data / name for name in FILES]):
        try:
            kind = find_perovskite(structure(sample.form, sample.content))
        except UserError:
            continue
        sites = None if kind is None or kind.order != "single" else perovskite_columns(kind)
        if kind is None or sites is None or sample.labels.get("e_above_hull") is None:
            continue
        (_, a), (_, b), (_, x) = sites
        if len(set(x)) == 1:
            found.setdefault((a, b, x[0]), []).append((float(sample.labels["e_above_hull"]), kind))
    return [compound for sites, crystals in sorted(found.items()) for compound in _compounds(sites, crystals)]


def _compounds(sites: tuple[str, str, str], crystals: list[tuple[float, Perovskite]]) -> list[Compound]:
    cubic = [energy for energy, kind in crystals if kind.family == "cubic"]
    energy, kind = min(crystals, key=lambda crystal: crystal[0])
    is_compared = cubic and len(cubic) < len(crystals) and energy <= NEAR_HULL
    return [Compound(sites, kind, min(cubic) - energy)] if is_compared else []


def relaxed(chosen: list[Compound], folder: Path, settings: dict[str, float]) -> list[Opinion]:
    """The compounds, screened and relaxed; in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "known.csv", ["A", "B", "X"], [compound.sites for compound in chosen])
    url = folder / "known.zarr"
    if not url.exists():
        screen("list", file=folder / "known.csv", out=url, model="mp", filters=[], workers=1)
    with StoredRun.open(open_run(url).url) as run:
        made = relax_run(run, Relaxation(outputs=Outputs(top=len(chosen)), **settings), tell)
    print(made.calculator)
    for agreement in made.agreements:
        print(f"with the model: {agreement.what}: {agreement.figure}, of {agreement.count}")
    return sorted(made.opinions, key=lambda opinion: int(opinion.row["index"]))


def tell(progress: RelaxationProgress) -> None:
    """Print a line for a relaxation that ended."""
    found = progress.result
    print(f"{progress.done}/{progress.total} {found.formula} {found.tilts} {found.became} {found.reason}", flush=True)


def figures(chosen: list[Compound], opinions: list[Opinion]) -> list[str]:
    """What to print."""
    pairs = [(c, o) for c, o in zip(chosen, opinions, strict=True) if o.won is not None and o.won.converged]
    lines = [f"{len(pairs)} of {len(chosen)} compounds have a relaxed start; of these:"]
    known, found = [c.lowest for c, _ in pairs], [o.won.became for _, o in pairs if o.won]
    lines.append(f"still a perovskite: {sum(map(bool, found))}")
    tilted = [(k.family == "tilted", " tilted " in f) for k, f in zip(known, found, strict=True)]
    lines.append(
        f"tilted or not, as there: {sum(a == b for a, b in tilted)} ({sum(a for a, _ in tilted)} are tilted there)"
    )
    same = [f.endswith(k.glazer) for k, f in zip(known, found, strict=True)]
    lines.append(f"the very tilt system: {sum(same)}")
    near = [_is_near(k.glazer, o) for k, (_, o) in zip(known, pairs, strict=True)]
    lines.append(
        f"the very tilt system, or one that is less than {1000 * ALIKE:.0f} meV/atom lower than it: {sum(near)}"
    )
    volume = np.array([o.a**3 / c.lowest.a**3 - 1 for c, o in pairs])
    volume = volume[np.isfinite(volume)]
    lines.append(f"volume: {100 * volume.mean():+.1f} % in the mean, {100 * np.abs(volume).mean():.1f} % mean error")
    gain = np.array([(c.gain, o.gain) for c, o in pairs])
    gain = gain[np.isfinite(gain).all(axis=1)]
    off, rho = np.abs(np.diff(gain)).mean(), np.corrcoef(gain.argsort(axis=0).argsort(axis=0).T)[0, 1]
    told = f"{1000 * off:.0f} meV/atom mean error (there {1000 * gain[:, 0].mean():.0f} in the mean)"
    lines.append(f"lower than the cubic crystal by: {told}, Spearman's rho {rho:.2f}, of {len(gain)}")
    return lines


def _is_near(glazer: str, opinion: Opinion) -> bool:
    best = opinion.won.energy_per_atom if opinion.won else None
    return any(
        found.became.endswith(glazer) and best is not None and (found.energy_per_atom or 0.0) - best < ALIKE
        for found in opinion.relaxations
        if found.converged
    )


if __name__ == "__main__":
    command_line.run(main, "relax")
