r"""What the labels of the recipe `mp` are made of: scales of formation energies, and bounds that tilted starts tighten.

\b
labels.py DATA    with perovskites/mp.jsonl.xz, general/mp.jsonl.xz and perovskites/relaxed-differences.csv

Crystals of both files are the same if they have the same number of atoms of each element, volumes that differ by less
than 0.2 % and energies above hull that differ by less than 0.05 eV/atom.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from cgcnn.cli import options as command_line
from cgcnn.data.crystal import structure
from cgcnn.data.read import read
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.training.curation import BOUND, COMPUTED, ENERGY, FORMATION, gains, legacy_minus_2020, lowest_polymorphs

if TYPE_CHECKING:
    from cgcnn.data.samples import Sample

OLDER, NEWER = "perovskites/mp.jsonl.xz", "general/mp.jsonl.xz"
STARTS = "perovskites/relaxed-differences.csv"
SAME_VOLUME, SAME_ENERGY, AGREE, STABLE = 0.002, 0.05, 0.005, 0.05

Known = tuple[float, float, float]
"""Volume (Å³), formation energy and energy above hull (eV/atom) of a crystal."""
Crystals = dict[tuple[tuple[str, int], ...], list[Known]]
"""Those of each formula, as symbols and numbers of atoms."""


@click.command(name="labels", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=click.Path(path_type=Path))
@command_line.debug
def main(data: Path) -> None:
    """Print the figures."""
    older, newer = read(data / OLDER), read(data / NEWER)
    print_scales(_by_formula(older), _by_formula(newer))
    print_bounds(lowest_polymorphs([*older, *newer], gains(read(data / STARTS))))


def print_scales(older: Crystals, newer: Crystals) -> None:
    """Print how much formation energies of the same crystals differ, as they are and on the scale of 2020."""
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for formula, crystals in newer.items():
        shift = legacy_minus_2020(dict(formula)) if formula in older else 0.0
        most = max(formula, key=lambda part: part[1])[0]
        for volume, energy, above in crystals:
            for other, before, also_above in older.get(formula, []):
                if abs(other / volume - 1) < SAME_VOLUME and abs(above - also_above) < SAME_ENERGY:
                    found[most].append((before - energy, before - shift - energy))
    print("most atoms   crystals   median difference before / after   within 0.005 eV/atom before / after")
    everything = [pair for pairs in found.values() for pair in pairs]
    for name, pairs in [("all", everything), *sorted(found.items(), key=lambda item: -len(item[1]))[:10]]:
        off = np.array(pairs)
        (before, after), near = np.median(off, axis=0), (np.abs(off) < AGREE).mean(axis=0)
        print(f"{name:10} {len(off):10} {before:18.4f} / {after:.4f} {near[0]:22.2f} / {near[1]:.2f}")


def _by_formula(samples: list[Sample]) -> Crystals:
    found: Crystals = defaultdict(list)
    for sample in samples:
        try:
            crystal = structure(sample.form, sample.content)
        except UserError:
            continue
        counts = Counter(SYMBOLS[z] for z in crystal.atomic_numbers)
        known = sample.labels.get(FORMATION), sample.labels.get(ENERGY)
        if None not in known:
            found[tuple(sorted(counts.items()))].append((crystal.volume, float(known[0]), float(known[1])))
    return dict(found)


def print_bounds(lowest: list[Sample]) -> None:
    """Print how many compositions are bounds, and what tilted starts make of these."""
    for kind in ("singles", "doubles"):
        those = [found.labels for found in lowest if ("B'" in found.labels) == (kind == "doubles")]
        by_gain = [labels for labels in those if labels[COMPUTED] is not None]
        fell = sum(labels[ENERGY] <= STABLE < labels[COMPUTED] for labels in by_gain)
        print(
            f"{kind}: {len(those)}; only the cubic crystal computed and above the hull: "
            f"{len(by_gain) + sum(labels[BOUND] for labels in those)}, of which {len(by_gain)} have relaxed starts; "
            f"{fell} of these fall to at most {STABLE} eV/atom"
        )


if __name__ == "__main__":
    command_line.run(main, "labels")
