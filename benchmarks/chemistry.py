"""How chemistry fares against experiment: `python benchmarks/chemistry.py DATA [RANKED.csv …]`.

DATA is the folder with `experiment/abx3.csv` and `experiment/icsd-doubles.csv` (compositions that were made, as
perovskites or not; Bartel et al., Sci. Adv. 2019, 5, eaav0693). Prints which share of them passes the default filters
and each by itself, how τ agrees with the published values, the error of radii that are not Shannon's where it can be
checked, and in rankings where compounds of the literature stand. No model is needed.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, Prototype
from screening.candidates.space import parse_elements
from screening.chemistry.descriptors import columns
from screening.chemistry.filters import apply, parse_filter
from screening.chemistry.oxidation import states_text
from screening.chemistry.radii import ionic_radius, shannon
from screening.recipe import DEFAULT_FILTERS
from screening.status import Status

SETS = (("abx3", CUBIC_PEROVSKITE), ("icsd-doubles", DOUBLE_PEROVSKITE))

ALONE = ("charge", "sites", "redox", "states", "tolerance", "octahedral", "tau", "tau=4.8", "pauling")
"""Filters to try one by one."""

LITERATURE = [
    "Cs2AgInCl6",
    "Cs2AgBiCl6",
    "Cs2NaBiCl6",
    "Cs2AgBiBr6",
    "Cs2NaInCl6",
    "Rb2AgInCl6",
    "Rb2AgBiCl6",
    "Cs2AgSbCl6",
    "Cs2LiYCl6",
    "Cs2NaYCl6",
    "Sr2FeMoO6",
    "Sr2CrReO6",
    "Ba2MgWO6",
    "Ba2YNbO6",
    "Ba2YSbO6",
    "La2NiMnO6",
    "Ba2BiSbO6",
    "SrTaO2N",
    "BaTaO2N",
    "CaTaO2N",
    "LaTiO2N",
    "BaNbO2N",
    "SrNbO2N",
    "LaTaON2",
    "CsPbI3",
    "CsSnI3",
    "SrTiO3",
    "BaTiO3",
    "CaTiO3",
    "LaFeO3",
    "NdFeO3",
    "GdFeO3",
    "LaCrO3",
    "YAlO3",
    "LaAlO3",
    "NaTaO3",
    "BaZrO3",
]
"""Compounds that were made, or sought for what the recipes are about."""


def main(data: Path, rankings: list[Path]) -> None:
    """Print all tables."""
    for name, prototype in SETS:
        with (data / "experiment" / f"{name}.csv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        print_set(name, rows, prototype)
    print_radii()
    for path in rankings:
        print_ranks(path)


def print_set(name: str, rows: list[dict[str, str]], prototype: Prototype) -> None:
    """Print shares that pass filters, and the agreement of τ, of one set of compounds."""
    species = np.array([species_of(row, prototype) for row in rows], dtype=np.uint8)
    found: dict[str, Any] = {"species": species, **columns(species, prototype)}
    made = np.array([row["perovskite"] == "1" for row in rows])
    print(f"\n{name}: {made.sum()} perovskites, {(~made).sum()} others\n\npass               perovskites  others")
    for filters in (DEFAULT_FILTERS, *((one,) for one in ALONE)):
        passed = apply([parse_filter(text) for text in filters], found) == Status.OK
        title = "default" if filters == DEFAULT_FILTERS else filters[0]
        print(f"  {title:15s} {passed[made].mean():12.3f} {passed[~made].mean():7.3f}")
    published = np.array([float(row["published_tau"] or "nan") for row in rows])
    off = np.abs(found["tau"] - published)
    far = ~(off <= 0.5)
    print(f"\ntau within 0.02 of the published: {(off < 0.02).mean():.3f}; by 0.5 or more, or none: {far.mean():.3f}")
    for i in np.flatnonzero(far):
        states = states_text(species[i], found["charges"][i])
        print(f"  {rows[i]['formula']:12s} {states:22s} {found['tau'][i]:6.2f} {published[i]:6.2f}")


def species_of(row: dict[str, str], prototype: Prototype) -> list[int]:
    """Atomic numbers on the sites of a prototype, of a row with a column for each site or role."""
    names = (site if site in row else role for site, role in zip(prototype.sites, prototype.roles, strict=True))
    return [parse_elements(row[name])[0] for name in names]


def print_radii() -> None:
    """Print the error of extrapolated radii, each left out of the table in turn."""
    print("\nradii extrapolated from other coordinations, each left out in turn (Å)")
    for neighbours in (12, 6):
        errors = []
        for z in range(1, 101):
            for charge, radii in shannon(z).items():
                if charge > 0 and neighbours in radii and len(radii) > 1:
                    known = radii.pop(neighbours)
                    errors.append(ionic_radius(z, charge, neighbours).angstrom - known)
                    radii[neighbours] = known
        size = np.abs(errors)
        print(f"  {neighbours:2d} neighbours: mean error {size.mean():.3f}, largest {size.max():.3f}, {len(size)} ions")


def print_ranks(path: Path) -> None:
    """Print where compounds of the literature stand in a ranked CSV, and how unusual the states of the first are."""
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    place = {composition(row["formula"]): i for i, row in reversed(list(enumerate(rows)))}
    print(f"\n{path.stem}: {len(rows):,} ranked\n\ncompound      rank       %  e_above_hull  states")
    for formula in LITERATURE:
        if (i := place.get(composition(formula))) is not None:
            share, energy = 100 * (i + 1) / len(rows), float(rows[i]["e_above_hull"])
            print(f"  {formula:11s} {i + 1:5d} {share:7.2f} {energy:13.4f}  {rows[i]['states']}")
    unusual = sum(float(row["state_reluctance"] or "inf") > 1 for row in rows[:100])
    print(f"  of the first 100, {unusual} have a state that fewer than one in ten ions of the element have")


def composition(formula: str) -> frozenset[tuple[str, int]]:
    """Elements and their numbers in a formula."""
    counts: dict[str, int] = {}
    for symbol, count in re.findall(r"([A-Z][a-z]?)(\d*)", formula):
        counts[symbol] = counts.get(symbol, 0) + int(count or 1)
    return frozenset(counts.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
