r"""How accurate a model is, with the conditions of each figure.

\b
accuracy.py castelli.jsonl.xz                      fit the recipe without its validation fold, measure on that fold
accuracy.py perovskites --recipe mp --seed 9       another recipe, from its directory of files, with another seed
accuracy.py castelli.jsonl.xz --leave-out Ti       the same for rows with an element, or a set of X (O2N)
accuracy.py castelli.jsonl.xz --model castelli     measure a model as it is
accuracy.py blind.jsonl.xz --model castelli --labels labels.csv   join the labels of a blind set by id

The first form reproduces the figures on the model's card; it takes half as long as `cgcnn train`.
"""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cgcnn.cli import options as command_line
from cgcnn.cli import show
from cgcnn.cli.building import builder
from cgcnn.cli.progress import Reporter
from cgcnn.data.composition import composition, shapes, species
from cgcnn.data.labels import targets
from cgcnn.data.read import read
from cgcnn.data.records import Record, read_records
from cgcnn.data.sample import from_record, record_id
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.inference.predict import predict_samples
from cgcnn.models import calibration
from cgcnn.models.files import load
from cgcnn.training import measure
from cgcnn.training.checkpoints import claim
from cgcnn.training.protocols import fit_taught, train
from cgcnn.training.recipe import TrainRecipe, read_recipe
from cgcnn.training.sources import read_samples
from cgcnn.training.split import Division, Split
from cgcnn.training.table import prepare
from screening.engine.block import stable_probability
from screening.recipe import STABLE_AT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.data.sample import Sample
    from cgcnn.models.model import Model
    from cgcnn.training.table import Prepared, Table

STABLE = 0.2  # eV/atom; the threshold of Castelli et al.
SHARE = 0.02  # of the candidates that a user would look at
FIRST = 100  # of a ranking

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
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the recipe's; how much figures depend on it.")
@click.option("--fold", type=int, help="Measure rows of this fold. [default: the recipe's; with --model, all rows]")
@click.option(
    "--leave-out", metavar="ELEMENT|ANIONS", help="Measure rows with this element, or set of X as O2N, instead."
)
@click.option(
    "--labels", type=PATH, help="Labels by id: JSON Lines(.xz), or CSV with columns id and the targets' names."
)
@click.option("--checkpoints", type=PATH, help="Keep the fit here, and go on with what is here.")
@command_line.debug
def main(data: Path, name: str | None, recipe: str, labels: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Print the figures."""
    how = {key: options[key] for key in ("members", "epochs", "seed")}
    plan = read_recipe(recipe).with_changes((), **how)
    if name:
        records = [sample.labels | crystal(sample) for sample in read(data)]
        model = load(name)
    else:
        found = prepared(data, plan)
        records = [entry.labels | crystal(entry) for entry in found.samples]
    if labels is not None:
        records = joined(records, labels)
    if not name and plan.validation_fold is None:
        drawn(found, plan, options["checkpoints"])
        return
    fold = options["fold"] if options["fold"] is not None or name else plan.validation_fold
    held = measured(records, None if name else found.table.fold, fold, options["leave_out"])
    if not held.any():
        raise UserError("no row to measure on; check --fold and --leave-out")
    if not name:
        model = fitted(found.table, held, plan, options["checkpoints"])
    rows = [record for record, chosen in zip(records, held, strict=True) if chosen]
    figures(model, rows, f"{data.name}, {options['leave_out'] or ('all rows' if fold is None else f'fold {fold}')}")
    if not name:
        table = found.table.rows(held)
        outputs = measure.outputs(model, table)
        for calibrated in measure.calibrations(model, table, outputs, "these rows"):
            print(show.reliability(calibrated))
        if len(model.members) > 1 and "e_above_hull" in model.settings.targets:
            print(probabilities(model, table, outputs))
            print(unseen_intervals(model, table, outputs, rows))


def prepared(data: Path, recipe: TrainRecipe) -> Prepared:
    """The usable rows of the data, as `cgcnn train` would use them."""
    with builder(recipe.settings, workers=None, cache=None, no_cache=False) as build:
        return prepare(read_samples(data, recipe), recipe, build)


def crystal(sample: Sample) -> Record:
    """Id and crystal of a sample as a record has them."""
    return {"id": sample.id, **(json.loads(sample.content) if sample.form == "record" else {})}


def measured(
    records: list[Record], folds: NDArray[np.int64] | None, fold: int | None, left_out: str | None
) -> NDArray[np.bool_]:
    """Which rows to measure on: those with the element or set of anions, or else those of the fold, or else all."""
    if left_out is not None:
        return np.array([left_out in {*elements(record), anions(record)} for record in records])
    if folds is None:
        return np.array([fold is None or record.get("fold") == fold for record in records])
    return np.asarray(folds == fold)


def elements(record: Record) -> set[str]:
    """The symbols on the record's sites, or in its crystal."""
    return {*record.get("species", ()), record.get("A"), record.get("B"), *record.get("X", ())} - {None}


def anions(record: Record) -> str:
    """What is on X, as O2N."""
    counts: Counter[str] = Counter(record.get("X", ()))
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in sorted(counts.items(), key=lambda x: (-x[1], x[0])))


def fitted(table: Table, held: NDArray[np.bool_], recipe: TrainRecipe, checkpoints: Path | None) -> Model:
    """An ensemble of the recipe, with its teachers, on the rows that are not held out."""
    split = Split(np.where(held, -1, 0).astype(np.int8), "rows held out")
    with Reporter(recipe.fit.members) as report, TemporaryDirectory() as scratch:
        folder = checkpoints or Path(scratch)
        claim(folder, table, recipe, [split], resume=True)
        return fit_taught(table, recipe, split, folder, ("fit", report)).best


def drawn(found: Prepared, recipe: TrainRecipe, checkpoints: Path | None) -> None:
    """Print what `cgcnn train` puts on the card of a recipe whose rows are split at random."""
    splits = Division().splits(found.usable, [sample.labels for sample in found.samples], recipe)
    with Reporter(recipe.fit.members) as report, TemporaryDirectory() as scratch:
        folder = checkpoints or Path(scratch)
        claim(folder, found.table, recipe, splits, resume=True)
        trained = train(found.table, recipe, splits, folder, report)
    for metric in trained.card.metrics:
        value = f"{metric.metric} {metric.value:.4f} {metric.unit}"
        print(f"{metric.target:<14} {value}  {metric.split}; {metric.input} input")


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
    found = predict_samples(model, [from_record(record, i) for i, record in enumerate(records)])
    seconds = time.perf_counter() - start
    good = [i for i in range(len(records)) if i not in found.failures]
    records = [records[i] for i in good]
    estimates = {name: (mean[good], std[good]) for name, (mean, std) in found.estimates.items()}
    left = f", {len(found.failures)} more could not be" if found.failures else ""
    conditions(model, records, f"{rows}: {len(records)} rows, predicted in {seconds:.1f} s{left}")
    kinds = shapes(records, model.card.prototypes) if model.card.prototypes else []
    for target in model.card.targets:
        try:
            label = targets(records, [target.name], kinds)[:, 0]
        except UserError:  # no record has it
            continue
        pair = Comparison(label, *estimates[target.name])
        print(errors(target.name, target.unit, pair))
        print(intervals(pair))
        if target.name == "e_above_hull":
            print(hits(pair))
            print("\n".join(by_kind(records, pair)))


def conditions(model: Model, records: list[Record], measured: str) -> None:
    """Print what is measured, on what."""
    card = model.card
    print(f"model      {card.name}, {card.members} members, fitted on {card.training_size} rows")
    if card.prototypes:
        seen, far = nearness(model, records)
        print(f"input      prototype ({', '.join(card.prototypes)}): no relaxed position or lattice is read")
        print(f"measured   {measured}; trained on {seen} of them" + (": NOT a test" if seen else ""))
        print(f"domain     domain_distance {far:.2f} in the mean")
    else:
        print(f"input      {card.input}")
        print(f"measured   {measured}")


def nearness(model: Model, records: list[Record]) -> tuple[int, float]:
    """How many of the records have a composition that the model was trained on, and their mean `domain_distance`."""
    prototypes = [PROTOTYPES[name] for name in model.card.prototypes]
    rows = [composition(record, prototypes) for record in records]
    table, shape = species(rows, prototypes), np.array([row.prototype for row in rows])
    parts = [(kind, table[shape == i, : len(kind.sites)]) for i, kind in enumerate(prototypes)]
    seen = sum(int(model.on(kind.name).known(part).sum()) for kind, part in parts)
    far = np.concatenate([model.on(kind.name).domain_distance(part) for kind, part in parts])
    return seen, float(far.mean())


def errors(name: str, unit: str, pair: Comparison) -> str:
    """The errors of one target."""
    known = ~np.isnan(pair.label)
    error = np.abs(pair.mean - pair.label)[known]
    rmse = np.sqrt((error**2).mean())
    rank = np.corrcoef(np.argsort(np.argsort(error)), np.argsort(np.argsort(pair.std[known])))[0, 1]
    tail = f"95 % below {np.quantile(error, 0.95):.4f}"
    return (
        f"{name:<14} MAE {error.mean():.4f}  RMSE {rmse:.4f}  median {np.median(error):.4f}  {tail} {unit}"
        f"  ({known.sum()} labels; rank correlation of spread and error {rank:.2f})"
    )


def intervals(pair: Comparison) -> str:
    """How many labels the central 90 % intervals hold."""
    known = ~np.isnan(pair.label)
    error, std = (pair.mean - pair.label)[known], pair.std[known]
    return f"  90 % interval holds {100 * calibration.coverage(error, std):.1f} % of the labels"


def hits(pair: Comparison) -> str:
    """How many of the stable candidates stand in the first few of the ranking."""
    known = ~np.isnan(pair.label)
    stable, order = pair.label[known] <= STABLE + 1e-6, np.argsort(pair.mean[known], kind="stable")
    first = round(SHARE * len(order))
    found = int(stable[order[:first]].sum())
    return f"  hits         {found} of {stable.sum()} at or below {STABLE} eV/atom in the first {first} of {len(order)}"


def probabilities(model: Model, table: Table, outputs: NDArray[np.float32]) -> str:
    """What `p_stable` says of held-out rows, its deviations fitted on other rows."""
    column = model.settings.targets.index("e_above_hull")
    label = table.targets[:, column]
    known = ~np.isnan(label)
    mean, std = outputs[:, known, column].mean(axis=0), measure.calibrate(model, table, outputs, column)[1]
    lines = []
    for threshold in (STABLE_AT, STABLE):
        stable = label[known] <= threshold + 1e-6
        p = stable_probability(mean, std, threshold)
        score, constant = np.square(p - stable).mean(), np.square(stable.mean() - stable).mean()
        lines.append(
            f"p_stable at {threshold} eV/atom adds up to {p.sum():.1f}, {stable.sum()} of {len(stable)} are stable; "
            f"Brier score {score:.5f}, {constant:.5f} for the same probability everywhere"
        )
    return "\n".join(lines)


def unseen_intervals(model: Model, table: Table, outputs: NDArray[np.float32], records: list[Record]) -> str:
    """How many labels 90 % intervals of the energy hold, their deviations fitted on other rows: where they matter."""
    column = model.settings.targets.index("e_above_hull")
    known = ~np.isnan(table.targets[:, column])
    _, std, error, _ = measure.calibrate(model, table, outputs, column)
    order = np.argsort(outputs[:, known, column].mean(axis=0), kind="stable")[:FIRST]
    kinds = np.array([anions(record) for record in records])[known]
    parts = {"all": slice(None), f"the first {FIRST}": order} | {
        kind: kinds == kind for kind in np.unique(kinds) if kind
    }
    held = [f"{name} {100 * calibration.coverage(error[rows], std[rows]):.1f} %" for name, rows in parts.items()]
    return "90 % intervals, fitted on other rows, hold of " + ", ".join(held)


def by_kind(records: list[Record], pair: Comparison) -> list[str]:
    """The error of each set of anions, or where there are no columns of sites, of each size of cell."""
    kinds = np.array([anions(record) or f"{len(record.get('species', ()))} atoms" for record in records])
    error = np.abs(pair.mean - pair.label)
    return [
        f"  {kind:<10} MAE {np.nanmean(error[kinds == kind]):.4f} eV/atom  ({(kinds == kind).sum()} rows)"
        for kind in np.unique(kinds)
        if not np.isnan(error[kinds == kind]).all()
    ]


if __name__ == "__main__":
    command_line.run(main)
