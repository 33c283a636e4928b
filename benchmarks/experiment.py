r"""What a model says of compositions that were made, or tried: which of them are perovskites?

\b
experiment.py DIR                  abx3.csv, icsd-doubles.csv, halide-doubles.csv of a directory
experiment.py DIR --model mp       by another model than the default one
experiment.py DIR --table out.csv  and write what was found for every row

The files have the columns A, B, X (and B'), and `perovskite` (1 or 0), or `decomposition_meV_atom`. Every figure stands
beside that of Bartel's tau on the same rows: the published one (`published_tau`) and the one of the column `tau`, which
counts as larger than any other where A is not larger than B. Rows of the training are told apart.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from cgcnn.cli import options as command_line
from cgcnn.elements import atomic_number
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.inference.evaluate import auc, roc
from cgcnn.models.files import load
from screening.chemistry.descriptors import columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.model import Model

    Values = NDArray[np.floating]

FALSE = 0.10  # share of those that are none which a threshold may let pass
FILES = {"abx3.csv": CUBIC_PEROVSKITE, "icsd-doubles.csv": DOUBLE_PEROVSKITE, "halide-doubles.csv": DOUBLE_PEROVSKITE}
PATH = click.Path(path_type=Path)


@click.command(name="experiment", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=PATH)
@click.option("--model", "name", metavar="NAME|PATH", default="mp", show_default=True)
@click.option("--table", type=PATH, help="Write id, label, and each score of every row to this CSV.")
@command_line.debug
def main(data: Path, name: str, table: Path | None) -> None:
    """Print the figures."""
    model = load(name)
    print(f"{model.card.name} {model.digest[:8]}: {model.card.label}; zero: {model.card.hull}")
    written: list[list[str]] = []
    for file, prototype in FILES.items():
        if prototype.name not in model.card.prototypes or not (data / file).exists():
            print(f"{file}: {'not there' if prototype.name in model.card.prototypes else 'not for this model'}")
            continue
        rows = read(data / file)
        found, scores = label_of(rows, data / file), scores_of(rows, model, prototype)
        species = species_of(rows, prototype)
        print("\n".join(figures(file, found, scores, model.on(prototype.name).known(species))))
        lines = zip(rows, found, *scores.values(), strict=True)
        written += [[file, row["id"], *(f"{value:.6g}" for value in values)] for row, *values in lines]
    if table is not None and written:
        write_csv(table, ["file", "id", "label", *scores], written)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def species_of(rows: list[dict[str, str]], prototype: Prototype) -> NDArray[np.uint8]:
    """(n, n_sites) canonical species."""
    numbers = [
        [atomic_number(row.get(site) or row[role]) for site, role in zip(prototype.sites, prototype.roles, strict=True)]
        for row in rows
    ]
    return prototype.canonical(np.array(numbers, dtype=np.uint8))


def label_of(rows: list[dict[str, str]], path: Path) -> Values:
    """(n,) 1 or 0 for a perovskite, or an energy of decomposition, meV/atom; more for more stable ones."""
    for column in ("perovskite", "decomposition_meV_atom"):
        if rows and column in rows[0]:
            return np.array([float(row[column]) for row in rows])
    raise UserError(f"{path}: no column perovskite or decomposition_meV_atom; the blind halves have no labels")


def scores_of(rows: list[dict[str, str]], model: Model, prototype: Prototype) -> dict[str, Values]:
    """What orders the rows (n,); less is more of a perovskite."""
    species = species_of(rows, prototype)
    kind = model.on(prototype.name)
    predicted = {name: mean for name, (mean, _) in kind.predict(species).items()}
    tau = np.nan_to_num(columns(species, prototype)["tau"].astype(np.float64), nan=np.inf)
    energies = {name: predicted[name] for name in ("e_above_hull", "e_above_hull_cubic") if name in predicted}
    return energies | {"tau": tau, "published_tau": np.array([float(row["published_tau"]) for row in rows])}


def figures(file: str, label: Values, scores: dict[str, Values], known: NDArray[np.bool_]) -> list[str]:
    """Lines with AUC and recall, or Spearman's rho, of all rows and of those that the model was not trained on."""
    lines = []
    for text, rows in (("all rows", np.ones(len(label), dtype=np.bool_)), ("not in its training", ~known)):
        if not rows.any():
            continue
        chosen = label[rows]
        binary = set(np.unique(label)) <= {0, 1}
        lines.append(f"{file}, {text}: {len(chosen)}" + (f", {int(chosen.sum())} perovskites" if binary else ""))
        for name, values in scores.items():
            if binary:
                recall = recall_at(-values[rows], chosen)
                lines.append(
                    f"  {name:20} AUC {auc(-values[rows], chosen):.3f}, recall {recall:.3f} at {FALSE:.0%} false"
                )
            else:
                lines.append(f"  {name:20} Spearman's rho {spearman(values[rows], chosen):.3f}")
    return lines


def recall_at(score: Values, label: Values) -> float:
    """The largest share of the perovskites that a threshold finds which lets pass `FALSE` of the others at most."""
    false, true = roc(score, label)
    return float(true[false <= FALSE].max())


def spearman(one: Values, other: Values) -> float:
    """Correlation of the ranks."""
    from scipy.stats import spearmanr  # slow to import

    return float(spearmanr(one, other).statistic)


if __name__ == "__main__":
    main()
