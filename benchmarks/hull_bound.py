r"""The list of ground states that the package ships, and what the column `hull_bound` is worth against experiment.

\b
hull_bound.py make LIST FILE        the phases of LIST that can be part of a hull, as the package ships them
hull_bound.py judge DIR             AUC of energy, bound and the larger of both on abx3.csv, icsd-doubles.csv,
                                    made.csv of DIR, and rho on halide-doubles.csv
hull_bound.py judge DIR --data DATA [--checkpoints FOLDER]
                                    the same with energies by ensembles that did not see the formulas

LIST is a CSV, perhaps compressed, with the columns formula and formation_energy (eV/atom). A phase can be part of a
hull if it is on that of its own chemical system, or would be without one other compound, as a compound that is compared
with the hull is left out of it. All others only take time. Elements, at 0, are added.
"""

from __future__ import annotations

import csv
import lzma
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from experiment import read, spearman
from experiment import species_of as species_of_rows
from perovskite_probability import ensembles, folds

from cgcnn.cli import options as command_line
from cgcnn.data.limits import opened
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.files import write_whole
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.inference.evaluate import auc
from cgcnn.models.files import load
from cgcnn.training.recipe import read_recipe
from screening.chemistry.competing import Phases, atoms_by_element, ground_states
from screening.chemistry.entries import Source, Unit
from screening.chemistry.sources import read_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.model import Model

    Floats = NDArray[np.float64]

PATH = click.Path(path_type=Path)
FILES = ("abx3.csv", "icsd-doubles.csv", "made.csv", "halide-doubles.csv")
STABLE = 0.05
FLAGGED = (0.05, 0.1, 0.15, 0.2, 0.3)
TINY = 1e-9


@click.group(name="hull_bound", help=__doc__, context_settings={"max_content_width": 120})
@command_line.debug
def main() -> None:
    """Make the list, or judge what it is worth."""


@main.command()
@click.argument("path", metavar="LIST", type=PATH)
@click.argument("out", metavar="FILE", type=PATH)
def make(path: Path, out: Path) -> None:
    """Write the phases of LIST that can be part of a hull."""
    with opened(path, "strict") as file:
        energies = {read_unit(row["formula"]): float(row["formation_energy"]) for row in csv.DictReader(file)}
    given = len(energies)
    energies |= {((z, 1.0),): 0.0 for z in {z for unit in energies for z, _ in unit}}
    kept = {unit: energy for unit, energy in energies.items() if energy <= 0}  # elements are lower than the others
    units, values = tuple(kept), np.array(list(kept.values()))
    chosen = of_hulls(Phases(units, values, Source(str(path), "", "", given), exclude_self=True))
    lines = sorted(f"{_formula(units[i])},{values[i]:.4f}" for i in np.flatnonzero(chosen).tolist())
    packed = lzma.compress("\n".join(["formula,formation_energy", *lines, ""]).encode(), preset=9)
    write_whole(out, packed)
    print(f"{given:,} phases, {len(lines):,} of them can be part of a hull; {len(packed):,} bytes")


def of_hulls(phases: Phases) -> NDArray[np.bool_]:
    """(M,) which phases can be part of a hull from which one compound is left out; elements always."""
    counts = np.zeros((len(phases.units), MAX_Z + 1))
    for row, unit in enumerate(phases.units):
        for z, amount in unit:
            counts[row, z] = amount
    chosen = (counts > 0).sum(axis=1) == 1
    compounds = np.flatnonzero(~chosen)
    hull, products, shares = phases.lowest(counts[compounds])
    chosen[compounds] = phases.energies[compounds] <= hull
    above, place = np.nonzero((shares > TINY) & ~chosen[compounds][:, None])  # one of these may be the one left out
    without = products[above, place]
    is_compound = (counts[without] > 0).sum(axis=1) > 1
    rows, without = compounds[above[is_compound]], without[is_compound]
    found = phases.energies[rows] <= phases.lowest(counts[rows], without)[0]
    chosen[rows[found]] = True
    return chosen


def _formula(unit: Unit) -> str:
    return "".join(f"{SYMBOLS[z]}{'' if amount == 1 else f'{amount:g}'}" for z, amount in unit)


@main.command()
@click.argument("data", metavar="DIR", type=PATH)
@click.option("--model", "name", metavar="NAME|PATH", default="mp", show_default=True)
@click.option("--data", "training", type=PATH, help="What the model was trained on.")
@click.option("--recipe", default="mp", show_default=True, help="How.")
@click.option("--checkpoints", type=PATH, help="Keep the ensembles here, and go on with what is here.")
def judge(data: Path, name: str, training: Path | None, **options: Any) -> None:
    """Print AUC against experiment."""
    unseen = {} if training is None else ensembles(training, read_recipe(options["recipe"]), options["checkpoints"])
    model, everything = load(name), [row | {"file": file} for file in FILES for row in read(data / file)]
    parts = []
    for prototype in (CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE):
        rows, species = known_elements(
            [row for row in everything if bool(row.get("B'")) == (prototype is DOUBLE_PEROVSKITE)], prototype
        )
        fold = folds(rows, prototype, len(unseen)) if unseen else []
        models = [unseen[of] for of in fold] if unseen else [model] * len(rows)
        parts.append(scores(rows, species, prototype, models))
    print("energies by ensembles that did not see the formula" if unseen else f"energies of {name}, training included")
    print_figures({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def known_elements(rows: list[dict[str, str]], prototype: Prototype) -> tuple[list[dict[str, str]], NDArray[np.uint8]]:
    """Rows whose sites hold elements that the hull covers, and their species."""
    real = {*SYMBOLS[1:]}
    rows = [row for row in rows if {row[role] for role in ("A", "B", "X")} | {row.get("B'") or row["B"]} <= real]
    species = species_of_rows(rows, prototype)
    counts = atoms_by_element(species[:, list(prototype.atoms)])
    covered = np.array([not ground_states().missing(row) for row in counts])
    return [row for row, has in zip(rows, covered, strict=True) if has], species[covered]


def scores(
    rows: list[dict[str, str]], species: NDArray[np.uint8], prototype: Prototype, models: list[Model]
) -> dict[str, NDArray[Any]]:
    """Energy above hull and bound of rows, eV/atom, each by a model of its own, with what is known of them."""
    energy, formation = np.empty(len(rows)), np.empty(len(rows))
    for model in set(models):
        own = np.array([one is model for one in models])
        predicted = model.on(prototype.name).predict(species[own])
        energy[own], formation[own] = predicted["e_above_hull"][0], predicted["formation_energy"][0]
    hull, _, _ = ground_states().lowest(atoms_by_element(species[:, list(prototype.atoms)]))
    first = Counter[bytes]()
    once = np.zeros(len(rows), dtype=np.bool_)
    for at, (row, numbers) in enumerate(zip(rows, species, strict=True)):
        if row.get("perovskite"):
            once[at] = not first[bytes(numbers)]
            first[bytes(numbers)] += 1
    return {
        "energy": energy,
        "bound": formation - hull,
        "once": once,
        "double": np.full(len(rows), prototype is DOUBLE_PEROVSKITE),
        "x": np.array([row["X"] for row in rows]),
        "file": np.array([row["file"] for row in rows]),
        "formula": np.array([row["formula"] for row in rows]),
        "label": np.array([float(row.get("perovskite") or "nan") for row in rows]),
        "depth": np.array([float(row.get("decomposition_meV_atom") or "nan") for row in rows]),
    }


def print_figures(of: dict[str, NDArray[Any]]) -> None:
    """Print AUC by anion and file, and what the flag would say."""
    once, x = of["once"], of["x"]
    larger = np.maximum(of["energy"], of["bound"])
    groups = {"all": once, "ABX3": once & ~of["double"], "A2BB'X6": once & of["double"]}
    groups |= {file: of["file"] == file for file in FILES[:3]}
    groups |= {kind: once & np.isin(x, kind.split("+")) for kind in ("O", "F", "Cl", "Br", "I", "S+Se")}
    for text, rows in groups.items():
        label = of["label"][rows] == 1
        if 0 < label.sum() < len(label):
            found = ", ".join(
                f"{what} {auc(-score[rows], label):.3f}"
                for what, score in (("energy", of["energy"]), ("bound", of["bound"]), ("larger", larger))
            )
            print(f"{text:16} {len(label):5} rows, {label.sum():4} perovskites: AUC of {found}")
    doubles = of["file"] == FILES[3]
    if doubles.any():
        found = ", ".join(
            f"{s:.2f}"
            for s in (spearman(v[doubles], of["depth"][doubles]) for v in (of["energy"], of["bound"], larger))
        )
        print(f"{FILES[3]}: Spearman's rho of energy, bound, larger {found}")
    for least in FLAGGED:
        flagged = once & (of["energy"] <= STABLE) & (of["bound"] > least)
        print(
            f"energy at most {STABLE}, bound above {least}: {flagged.sum()}, "
            f"{int(of['label'][flagged].sum())} of them perovskites"
        )


if __name__ == "__main__":
    command_line.run(main)
