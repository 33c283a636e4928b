r"""How accurate a model is, with the conditions of each figure.

\b
accuracy.py castelli.jsonl.xz                      fit the recipe without its validation folds, measure on these
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
from cgcnn.cli import terminal
from cgcnn.cli.terminal import Reporter, builder
from cgcnn.data.composition import composition, shapes, species
from cgcnn.data.labels import targets
from cgcnn.data.read import read
from cgcnn.data.samples import Record, from_record, read_records, record_id
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.inference.predict import predict_samples
from cgcnn.models import deviations
from cgcnn.models.files import load
from cgcnn.training import measure
from cgcnn.training.data import Division, Split, prepare, read_samples
from cgcnn.training.fit import claim
from cgcnn.training.recipe import TrainRecipe, read_recipe
from cgcnn.training.train import check, fit_taught, train_table
from screening.engine.block import stable_probability
from screening.recipe import STABLE_AT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.data.samples import Sample
    from cgcnn.models.card import Metric
    from cgcnn.models.model import Model
    from cgcnn.training.data import Prepared, TrainingTable

STABLE = 0.2  # eV/atom; the threshold of Castelli et al.
SHARE = 0.02  # of the candidates that a user would look at
FIRST = 100  # of a ranking
RARE = 20  # rows; what has fewer is told together

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
def main(data: Path, name: str | None, recipe: str, labels: Path | None, **options: Any) -> None:
    """Print the figures."""
    how = {key: options[key] for key in ("members", "epochs", "seed")}
    plan = read_recipe(recipe).with_changes((), **how)
    fold, left_out = options["fold"], options["leave_out"]
    if name:
        records = [sample.labels | crystal(sample) for sample in read(data)]
        records = records if labels is None else joined(records, labels)
        which = left_out or ("all rows" if fold is None else f"fold {fold}")
        of_records(load(name), records, measured(records, fold, left_out), f"{data.name}, {which}")
        return
    if labels is not None:
        raise UserError(f"--labels {labels}: only with --model; a fit learns from the labels of its own data")
    found = prepared(data, plan)
    if left_out is not None:
        records = [entry.labels | crystal(entry) for entry in found.samples]
        held = measured(records, None, left_out)
        model = fitted(found.table, held, plan, options["checkpoints"])
        of_records(model, records, held, f"{data.name}, {left_out}")
    elif fold is None and not plan.validation_folds:
        drawn(found, plan, options["checkpoints"])
    else:
        chosen = plan if fold is None else plan.model_copy(update={"validation_folds": (fold,)})
        of_folds(found, chosen, options["checkpoints"])


def prepared(data: Path, recipe: TrainRecipe) -> Prepared:
    """The usable rows of the data, as `cgcnn train` would use them."""
    with builder(recipe.settings, workers=None, cache=None, no_cache=False) as build:
        return prepare(read_samples(data, recipe), recipe, build)


def crystal(sample: Sample) -> Record:
    """Id and crystal of a sample as a record has them."""
    return {"id": sample.id, **(json.loads(sample.content) if sample.form == "record" else {})}


def measured(records: list[Record], fold: int | None, left_out: str | None) -> NDArray[np.bool_]:
    """Which rows to measure on: those with the element or set of anions, or else those of the fold, or else all."""
    if left_out is not None:
        found = np.array([left_out in {*elements(record), anions(record)} for record in records])
    else:
        found = np.array([fold is None or record.get("fold") == fold for record in records])
    if not found.any():
        raise UserError("no row to measure on; check --fold and --leave-out")
    return found


def elements(record: Record) -> set[str]:
    """The symbols on the record's sites, or in its crystal."""
    return {*record.get("species", ()), record.get("A"), record.get("B"), *record.get("X", ())} - {None}


def anions(record: Record) -> str:
    """What is on X, as O2N."""
    counts: Counter[str] = Counter(record.get("X", ()))
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in sorted(counts.items(), key=lambda x: (-x[1], x[0])))


def fitted(table: TrainingTable, held: NDArray[np.bool_], recipe: TrainRecipe, checkpoints: Path | None) -> Model:
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
        trained = train_table(found.table, recipe, splits, folder, report)
    print("\n".join(map(line, trained.card.metrics)))


def of_folds(found: Prepared, recipe: TrainRecipe, checkpoints: Path | None) -> None:
    """Print what `cgcnn train` puts on the card of a recipe with validation folds, and what rankings of these hold."""
    with Reporter(recipe.fit.members) as report, TemporaryDirectory() as scratch:
        folder = checkpoints or Path(scratch)
        claim(folder, found.table, recipe, resume=True)
        unseen, text = check(found.table, recipe, folder / "check", report)
    print("\n".join(map(line, measure.figures_of_parts(unseen, text))))
    for calibrated in measure.calibrations(unseen, text):
        print(terminal.reliability(calibrated))
    held = np.isin(found.table.fold, recipe.validation_folds)
    records = [sample.labels | crystal(sample) for sample, own in zip(found.samples, held, strict=True) if own]
    for column, name in enumerate(recipe.settings.targets):
        if recipe.fit.members > 1 and name.endswith("e_above_hull"):
            print("\n".join([name, *of_energy(unseen, column, records)]))


def of_energy(unseen: measure.Unseen, column: int, records: list[Record]) -> list[str]:
    """What rankings and intervals of an energy above hull hold, with deviations that were fitted on other rows."""
    known = ~np.isnan(unseen.table.targets[:, column])
    mean, std = unseen.predictions[:, known, column].mean(axis=0), measure.calibrate(unseen, column)[1]
    pair = Comparison(unseen.table.targets[known, column], mean, std)
    kinds = by_kind([records[i] for i in np.flatnonzero(known)], pair)
    return [intervals(pair), first_intervals(pair), hits(pair), *kinds, probabilities(pair)]


def line(metric: Metric) -> str:
    """A figure and its conditions."""
    value = f"{metric.metric} {metric.value:.4f} {metric.unit}"
    return f"{metric.target:<14} {value}  {metric.split}; {metric.input} input"


def joined(records: list[Record], labels: Path) -> list[Record]:
    """The records with the labels of another file, joined by id."""
    try:
        text = labels.read_text(encoding="utf-8") if labels.suffix == ".csv" else None
    except OSError as error:
        raise UserError(f"{labels}: cannot be read ({error.strerror})") from None
    rows = read_records(labels) if text is None else list(csv.DictReader(text.splitlines()))
    known = {record_id(row, i): row for i, row in enumerate(rows)}
    return [record | known.get(record_id(record, i), {}) for i, record in enumerate(records)]


def of_records(model: Model, records: list[Record], held: NDArray[np.bool_], rows: str) -> None:
    """Print every figure of the model on the records where ``held``."""
    records = [record for record, chosen in zip(records, held, strict=True) if chosen]
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
    return f"  90 % interval holds {100 * deviations.coverage(error, std):.1f} % of the labels"


def hits(pair: Comparison) -> str:
    """How many of the stable candidates stand in the first few of the ranking."""
    known = ~np.isnan(pair.label)
    stable, order = pair.label[known] <= STABLE + 1e-6, np.argsort(pair.mean[known], kind="stable")
    first = round(SHARE * len(order))
    found = int(stable[order[:first]].sum())
    return f"  hits         {found} of {stable.sum()} at or below {STABLE} eV/atom in the first {first} of {len(order)}"


def first_intervals(pair: Comparison) -> str:
    """How many labels of the first of the ranking the central 90 % intervals hold."""
    first = np.argsort(pair.mean, kind="stable")[:FIRST]
    held = 100 * deviations.coverage((pair.mean - pair.label)[first], pair.std[first])
    return f"  90 % interval holds {held:.1f} % of the labels of the first {len(first)} of the ranking"


def probabilities(pair: Comparison) -> str:
    """What `p_stable` says of held-out rows, whose deviations were fitted on other rows."""
    lines = []
    for threshold in (STABLE_AT, STABLE):
        stable = pair.label <= threshold + 1e-6
        p = stable_probability(pair.mean, pair.std, threshold)
        score, constant = np.square(p - stable).mean(), np.square(stable.mean() - stable).mean()
        lines.append(
            f"p_stable at {threshold} eV/atom adds up to {p.sum():.1f}, {stable.sum()} of {len(stable)} are stable; "
            f"Brier score {score:.5f}, {constant:.5f} for the same probability everywhere"
        )
    return "\n".join(lines)


def by_kind(records: list[Record], pair: Comparison) -> list[str]:
    """What holds for each set of anions, or where there are no columns of sites, each size of cell; rare ones together.

    The error, and how many labels the central 90 % intervals hold.
    """
    kinds = np.array([anions(record) or f"{len(record.get('species', ()))} atoms" for record in records])
    known = ~np.isnan(pair.label)
    names, often = np.unique(kinds[known], return_counts=True)
    kinds = np.where(np.isin(kinds, names[often < RARE]), "others", kinds)
    lines = []
    for kind in np.unique(kinds[known]):
        rows = known & (kinds == kind)
        error = (pair.mean - pair.label)[rows]
        held = f"90 % interval holds {100 * deviations.coverage(error, pair.std[rows]):.1f} %"
        lines.append(f"  {kind:<10} MAE {np.abs(error).mean():.4f} eV/atom, {held}  ({rows.sum()} rows)")
    return lines


if __name__ == "__main__":
    command_line.run(main)
