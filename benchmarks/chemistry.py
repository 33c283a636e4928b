"""How chemistry fares against experiment: `python benchmarks/chemistry.py DATA`.

DATA is the folder with `experiment/abx3.csv` and `experiment/icsd-doubles.csv` (compositions that were made, as
perovskites or not; Bartel et al., Sci. Adv. 2019, 5, eaav0693). Prints which share of them passes the default filters
and each by itself, how τ agrees with the published values, the error of radii that are not Shannon's where it can be
checked, and in rankings where compounds of the literature stand. No model is needed.
"""

from __future__ import annotations

import csv
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


def main(data: Path) -> None:
    """Print all tables."""
    for name, prototype in SETS:
        with (data / "experiment" / f"{name}.csv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        print_set(name, rows, prototype)
    print_radii()


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
