r"""How accurate a model is, with the conditions of each figure.

\b
accuracy.py castelli.jsonl.xz                      fit the recipe without its validation fold, measure on that fold
accuracy.py castelli.jsonl.xz --leave-out Ti       the same for rows with an element, fitted without them
accuracy.py castelli.jsonl.xz --model castelli     measure a model as it is
accuracy.py blind.jsonl.xz --model castelli --labels labels.csv   join the labels of a blind set by id

The first form reproduces the figures on the model's card; it takes half as long as `cgcnn train`.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cgcnn import calibration, command_line, train
from cgcnn.data import Record, read_records, record_id
from cgcnn.errors import UserError
from cgcnn.labels import targets
from cgcnn.predict import predict_records
from cgcnn.progress import Reporter
from cgcnn.prototype import PROTOTYPES
from cgcnn.recipe import TrainRecipe, read_recipe
from cgcnn.sites import composition, shapes, species
from cgcnn.weights import Model, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

STABLE = 0.2  # eV/atom; the threshold of Castelli et al.
SHARE = 0.02  # of the candidates that a user would look at

PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Comparison:
    """Predictions beside labels, NaN where there is no label; (n,) each."""

    label: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


@click.command(name="accuracy", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=PATH)
@click.option("--model", "name", metavar="NAME|PATH", help="Measure this model instead of fitting one.")
@click.option("--recipe", default="castelli", show_default=True, help="What to fit.")
@click.option("--members", type=click.IntRange(min=1), help="Fit so many, instead of the recipe's number.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the recipe's.")
@click.option("--fold", type=int, help="Measure rows of this fold. [default: the recipe's; with --model, all rows]")
@click.option("--leave-out", metavar="ELEMENT", help="Measure rows with this element instead of a fold.")
@click.option(
    "--labels", type=PATH, help="Labels by id: JSON Lines(.xz), or CSV with columns id and the targets' names."
)
@click.option("--checkpoints", type=PATH, help="Keep the fit here, and go on with what is here.")
@command_line.debug
def main(data: Path, name: str | None, recipe: str, labels: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Print the figures."""
    records = read_records(data)
    if labels is not None:
        records = joined(records, labels)
    plan = read_recipe(recipe).with_changes((), members=options["members"], epochs=options["epochs"])
    fold = options["fold"] if options["fold"] is not None or name else plan.validation_fold
    held = measured(records, fold, options["leave_out"])
    rows = [record for record, chosen in zip(records, held, strict=True) if chosen]
    if not rows:
        raise UserError("no row to measure on; check --fold and --leave-out")
    rest = [record for record, chosen in zip(records, held, strict=True) if not chosen]
    model = load(name) if name else fitted(rest, plan, options["checkpoints"])
    figures(model, rows, f"{data.name}, {options['leave_out'] or ('all rows' if fold is None else f'fold {fold}')}")


def measured(records: list[Record], fold: int | None, element: str | None) -> list[bool]:
    """Which rows to measure on: those with the element, or else those of the fold, or else all."""
    if element is not None:
        return [element in [record.get("A"), record.get("B"), *record.get("X", ())] for record in records]
    return [fold is None or record.get("fold") == fold for record in records]


def fitted(records: list[Record], recipe: TrainRecipe, checkpoints: Path | None) -> Model:
    """An ensemble of the recipe on these records."""
    table = train.prepare(records, recipe)
    with Reporter(recipe.fit.members) as report, TemporaryDirectory() as scratch:
        folder = checkpoints or Path(scratch)
        train.claim(folder, table, recipe, resume=True)
        return train.ensemble(table, recipe, folder, partial(report, "fit"))


def joined(records: list[Record], labels: Path) -> list[Record]:
    """The records with the labels of another file, joined by id."""
    try:
        text = labels.read_text(encoding="utf-8") if labels.suffix == ".csv" else None
    except OSError as error:
        raise UserError(f"{labels}: cannot be read ({error.strerror})") from None
    rows = read_records(labels) if text is None else list(csv.DictReader(text.splitlines()))
    known = {record_id(row, i): row for i, row in enumerate(rows)}
    return [record | known.get(record_id(record, i), {}) for i, record in enumerate(records)]


def figures(model: Model, records: list[Record], rows: str) -> None:
    """Print every figure of the model on the records."""
    start = time.perf_counter()
    estimates = predict_records(model, records)
    seconds = time.perf_counter() - start
    conditions(model, records, f"{rows}: {len(records)} rows, predicted in {seconds:.1f} s")
    kinds = shapes(records, model.card.prototypes) if model.card.prototypes else []
    for target in model.card.targets:
        label = targets(records, [target.name], kinds)[:, 0].numpy()
        pair = Comparison(label, *estimates[target.name])
        print(errors(target.name, target.unit, pair))
        print(intervals(pair, calibrated=any(c.target == target.name for c in model.card.calibrations)))
        if target.name == "e_above_hull":
            print(hits(pair))
            print("\n".join(by_anions(records, pair)))


def conditions(model: Model, records: list[Record], measured: str) -> None:
    """Print what is measured, on what."""
    card = model.card
    print(f"model      {card.name}, {card.members} members, fitted on {card.training_size} rows")
    if card.prototypes:
        seen = known(model, records)
        print(f"input      prototype ({', '.join(card.prototypes)}): no relaxed position or lattice is read")
        print(f"measured   {measured}; trained on {seen} of them" + (": NOT a test" if seen else ""))
    else:
        print(f"input      {card.input}")
        print(f"measured   {measured}")


def known(model: Model, records: list[Record]) -> int:
    """How many of the records have a composition that the model was trained on."""
    prototypes = [PROTOTYPES[name] for name in model.card.prototypes]
    rows = [composition(record, prototypes) for record in records]
    table, shape = species(rows, prototypes), np.array([row.prototype for row in rows])
    parts = [(kind, table[shape == i, : len(kind.sites)]) for i, kind in enumerate(prototypes)]
    return sum(int(model.taking(kind.name).known(part).sum()) for kind, part in parts)


def errors(name: str, unit: str, pair: Comparison) -> str:
    """The errors of one target."""
    known = ~np.isnan(pair.label)
    error = np.abs(pair.mean - pair.label)[known]
    rmse = np.sqrt((error**2).mean())
    rank = np.corrcoef(np.argsort(np.argsort(error)), np.argsort(np.argsort(pair.std[known])))[0, 1]
    return (
        f"{name:<14} MAE {error.mean():.4f}  RMSE {rmse:.4f}  median {np.median(error):.4f} {unit}"
        f"  ({known.sum()} labels; rank correlation of spread and error {rank:.2f})"
    )


def intervals(pair: Comparison, *, calibrated: bool) -> str:
    """How many labels the central 90 % intervals hold; of a mere spread, also calibrated on the other half."""
    known = ~np.isnan(pair.label)
    error, std = (pair.mean - pair.label)[known], pair.std[known]
    text = f"  90 % interval holds {100 * calibration.coverage(error, std):.1f} % of the labels"
    if calibrated:
        return text
    order = np.random.default_rng(0).permutation(len(error))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    held = [
        calibration.coverage(error[b], calibration.calibrated(std[b], *calibration.fit_calibration(error[a], std[a])))
        for a, b in (halves, halves[::-1])
    ]
    return f"{text}; calibrated on one half of the rows, {100 * held[0]:.1f} and {100 * held[1]:.1f} % of the other"


def hits(pair: Comparison) -> str:
    """How many of the stable candidates stand in the first few of the ranking."""
    known = ~np.isnan(pair.label)
    stable, order = pair.label[known] <= STABLE + 1e-6, np.argsort(pair.mean[known], kind="stable")
    first = round(SHARE * len(order))
    found = int(stable[order[:first]].sum())
    return f"  hits         {found} of {stable.sum()} at or below {STABLE} eV/atom in the first {first} of {len(order)}"


def by_anions(records: list[Record], pair: Comparison) -> list[str]:
    """The error of each anion set."""
    sets = np.array(["".join(sorted(record.get("X", "-"))) for record in records])
    error = np.abs(pair.mean - pair.label)
    return [
        f"  X = {anions:<8} MAE {np.nanmean(error[sets == anions]):.4f} eV/atom  ({(sets == anions).sum()} rows)"
        for anions in np.unique(sets)
    ]


if __name__ == "__main__":
    command_line.run(main)
