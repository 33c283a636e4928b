r"""Fits and judges the column `p_perovskite`, on compositions of which it is known whether they are perovskites.

\b
perovskite_probability.py DIR                       cross-validation on abx3.csv, icsd-doubles.csv and made.csv of DIR,
                                                    ten folds by formula
perovskite_probability.py DIR --data DATA           also with energies by ensembles that did not see the formulas
perovskite_probability.py DIR --data DATA --write FILE
                                                    and the fit to all rows, as the package ships it: FILE is
                                                    screening/chemistry/data/perovskite-probability.json

DATA is what the model was trained on. With it every row counts twice in a fit, once with the energies of the shipped
model, which saw many of them, and once with those: what is fitted then trusts energies no more than they deserve on
new compositions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from accuracy import prepared
from experiment import FALSE, read, recall_at, species_of

from cgcnn.cli import options as command_line
from cgcnn.cli.terminal import Reporter
from cgcnn.data.composition import formula_group
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.inference.evaluate import auc
from cgcnn.models.files import load
from cgcnn.training.fit import claim
from cgcnn.training.recipe import read_recipe
from cgcnn.training.train import without_folds
from screening.chemistry.descriptors import columns
from screening.chemistry.perovskite_probability import (
    CLASSES,
    ENERGIES,
    LINES,
    Additive,
    features_of,
    likeness,
    to_json,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.model import Model
    from cgcnn.training.recipe import TrainRecipe

    Floats = NDArray[np.float64]
    Features = dict[str, Floats]

KNOTS = {
    "tau": (2.5, 3.2, 3.7, 4.2, 4.8, 5.5, 8.0),
    "tolerance_factor": (0.75, 0.82, 0.88, 0.94, 1.0, 1.06, 1.15),
    "octahedral_factor": (0.2, 0.33, 0.41, 0.48, 0.58, 0.75),
    "wolverton_e_above_hull": (-0.1, 0.0, 0.1, 0.2, 0.4, 0.8),
    "formation_energy": (-3.8, -3.2, -2.6, -2.0, -1.4, -0.8),
    "e_above_hull": (-0.05, 0.0, 0.03, 0.06, 0.1, 0.2, 0.4),
}
OF_CLASS = dict.fromkeys(CLASSES, (0.0, 1.0)) | {f"{name}, {kind}": (-1.0, 1.0) for kind in CLASSES for name in LINES}
FALLING = ("e_above_hull", "wolverton_e_above_hull")
"""A higher energy never speaks for a perovskite: their functions do not rise."""
ROUGH, RIDGE = 0.1, 0.2  # penalties of squared changes of slope, and of squared values
STRAIGHT = 0.1  # of the squared values of lines of a class
FILES = ("abx3.csv", "icsd-doubles.csv", "made.csv")
FOLDS = 10
LIKE = 0.1  # of the process over similar compositions: its variance is one over this
SMALL = 1e-4  # on the diagonal, so that rounding does not matter
SIMILAR, NEW = 450, 1e-3  # compositions that stand for all, at most, and how unlike those before each must be
ENOUGH = 20  # rows of a class of anions, with both answers
PATH = click.Path(path_type=Path)


@click.command(name="perovskite_probability", help=__doc__, context_settings={"max_content_width": 120})
@click.argument("data", type=PATH)
@click.option("--model", "name", metavar="NAME|PATH", default="mp", show_default=True)
@click.option("--data", "training", type=PATH, help="What the model was trained on.")
@click.option("--recipe", default="mp", show_default=True, help="How.")
@click.option("--checkpoints", type=PATH, help="Keep the ensembles here, and go on with what is here.")
@click.option("--write", type=PATH)
@command_line.debug
def main(data: Path, name: str, training: Path | None, write: Path | None, **options: Any) -> None:
    """Print the figures."""
    model, models = load(name), {}
    unseen = {} if training is None else ensembles(training, read_recipe(options["recipe"]), options["checkpoints"])
    everything = [row | {"file": file} for file in FILES if (data / file).exists() for row in read(data / file)]
    for prototype in (CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE):
        rows = _once([row for row in everything if bool(row.get("B'")) == (prototype is DOUBLE_PEROVSKITE)], prototype)
        label = np.array([row["perovskite"] == "1" for row in rows])
        variants = [_features(rows, prototype, [model] * len(rows))]
        if unseen:
            variants.append(_features(rows, prototype, [unseen[fold] for fold in folds(rows, prototype, len(unseen))]))
        print(f"{prototype.name}: {len(label)} rows, {int(label.sum())} perovskites, {FOLDS} folds by formula")
        part = np.array(folds(rows, prototype, FOLDS))
        for text, found in zip(
            ("energies of the model", "held-out energies"),
            cross_validated(variants, label, part, prototype),
            strict=False,
        ):
            print_figures(text, found, label, variants[0])
            print_files(found, label, np.array([row["file"] for row in rows]))
        models[prototype.name] = _fit(variants, np.ones(len(label), dtype=np.bool_), label, prototype)
    if write is not None:
        write_whole(write, to_json(models))


def _once(rows: list[dict[str, str]], prototype: Prototype) -> list[dict[str, str]]:
    """The first row of each composition, without rows that name no element."""
    found: dict[bytes, dict[str, str]] = {}
    for row in rows:
        try:
            (numbers,) = species_of([row], prototype).tolist()
        except UserError as error:
            print(f"{row['id']} left out: {error}")
            continue
        found.setdefault(bytes(numbers), row)
    return list(found.values())


def print_figures(text: str, found: Floats, label: NDArray[np.bool_], features: Features) -> None:
    """Print what probabilities (n,) of rows come to, in all and by class of anions."""
    said, brier = (found > 0.5) == label, np.square(found - label).mean()
    area, recall = auc(found, label), recall_at(found, label)
    print(
        f"  {text}: AUC {area:.3f}, recall {recall:.3f} at {FALSE:.0%} false, accuracy {said.mean():.3f}, "
        f"Brier score {brier:.4f}"
    )
    for kind in CLASSES:
        own = features[kind] == 1
        of_class = f"    {kind}: {own.sum()} rows, {label[own].sum()} perovskites"
        both = 0 < label[own].sum() < own.sum()
        print(f"{of_class}, AUC {auc(found[own], label[own]):.3f}" if both else of_class)


def print_files(found: Floats, label: NDArray[np.bool_], file: NDArray[np.str_]) -> None:
    """Print what probabilities (n,) come to on each file (n,); a row of several counts for the first."""
    for name in FILES:
        own = file == name
        if 0 < label[own].sum() < own.sum():
            print(
                f"    {name}: {own.sum()} rows, {label[own].sum()} perovskites, AUC {auc(found[own], label[own]):.3f}"
            )


def ensembles(data: Path, recipe: TrainRecipe, checkpoints: Path | None) -> dict[int, Model]:
    """For every group of formulas an ensemble that saw none of them."""
    table, plan = (
        prepared(data, recipe).table,
        recipe.model_copy(update={"validation_folds": (*range(recipe.groups or 0),)}),
    )
    with Reporter(recipe.fit.members) as report, TemporaryDirectory() as scratch:
        folder = checkpoints or Path(scratch)
        claim(folder, table, plan, resume=True)
        return without_folds(table, plan, folder / "check", report)


def folds(rows: list[dict[str, str]], prototype: Prototype, groups: int) -> list[int]:
    """The group of formulas of each row."""
    atoms = species_of(rows, prototype)[:, list(prototype.atoms)]
    return [formula_group(Counter(numbers), groups) for numbers in atoms.tolist()]


def _features(rows: list[dict[str, str]], prototype: Prototype, models: list[Model]) -> Features:
    """Features of rows, with energies of a model each."""
    species = species_of(rows, prototype)
    energies = ("e_above_hull", *ENERGIES)
    found = dict(columns(species, prototype)) | {energy: np.empty(len(rows)) for energy in energies}
    for model in set(models):
        own = np.array([one is model for one in models])
        predicted = model.on(prototype.name).predict(species[own])
        for energy in energies:
            found[energy][own] = predicted[energy][0]
    return features_of(found | {"species": species}, prototype) | {"species": species}


def cross_validated(
    variants: list[Features], label: NDArray[np.bool_], part: NDArray[np.int64], prototype: Prototype
) -> list[Floats]:
    """For each variant of the features the probability (n,) by fits that saw no row of the same part (n,)."""
    found = [np.zeros(len(label)) for _ in variants]
    for fold in np.unique(part).tolist():
        model, held = _fit(variants, part != fold, label, prototype), part == fold
        for probability, features in zip(found, variants, strict=True):
            probability[held] = model.probability({name: features[name][held] for name in (*model.knots, "place")})
    return found


def _fit(
    variants: list[Features], chosen: NDArray[np.bool_], label: NDArray[np.bool_], prototype: Prototype
) -> Additive:
    names = (*KNOTS, *OF_CLASS, "place")
    features = {name: np.concatenate([variant[name][chosen] for variant in variants]) for name in names}
    one = {name: variants[0][name][chosen] for name in ("species", "tolerance_factor", "octahedral_factor", "place")}
    first = pick_similar(one["place"])
    sizes = [one[name][first].round(4) for name in ("tolerance_factor", "octahedral_factor")]
    similar = tuple(map(tuple, np.column_stack([one["species"][first], *sizes]).tolist()))
    model = fit_additive(features, np.tile(label[chosen], len(variants)), len(variants), one["place"][first])
    return replace(model, similar=similar, prototype=prototype.name)


def pick_similar(places: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find the compositions, at places (n, 13), that stand for all: each the one least like those before it."""
    left, found = np.ones(len(places)), np.zeros((len(places), 0))
    picked: list[int] = []
    while len(picked) < SIMILAR and left.max() > NEW:
        picked.append(int(left.argmax()))
        new = likeness(places, places[picked[-1:]])[:, 0] - found @ found[picked[-1]]
        found = np.column_stack([found, new / np.sqrt(left[picked[-1]])])
        left = np.maximum(left - found[:, -1] ** 2, 0)
    return np.array(picked)


def fit_additive(features: Features, label: NDArray[np.bool_], often: int, similar: NDArray[np.float32]) -> Additive:
    """The model with the least penalised cross entropy, from features (n,) and whether rows are perovskites (n,).

    Args:
        features: `KNOTS`, `OF_CLASS` and `place`.
        label: Of the n rows.
        often: How many times each composition is among them.
        similar: (k, 13) places of the compositions that stand for all.
    """
    from scipy.optimize import minimize  # slow to import

    blocks = [_hats(features[name], at) for name, at in KNOTS.items()]
    lines = np.column_stack([features[name] for name in OF_CLASS])
    overlap = likeness(similar, similar) + SMALL * np.eye(len(similar))
    spread = np.linalg.inv(np.linalg.cholesky(overlap.astype(np.float64))).T  # makes their weights independent
    alike = likeness(features["place"], similar) @ spread
    design = np.hstack([np.ones((len(label), 1)), *blocks, lines, alike])
    ends = np.cumsum([1, *(block.shape[1] for block in blocks)])
    penalty = np.zeros((design.shape[1], design.shape[1]))
    for block, start, stop in zip(blocks, ends, ends[1:], strict=False):
        second = np.diff(np.eye(block.shape[1]), n=2, axis=0)
        penalty[start:stop, start:stop] = ROUGH * second.T @ second + RIDGE * np.eye(block.shape[1])
    of_lines, of_likeness = (
        np.arange(ends[-1], ends[-1] + len(OF_CLASS)),
        np.arange(ends[-1] + len(OF_CLASS), len(penalty)),
    )
    penalty[of_lines, of_lines], penalty[of_likeness, of_likeness] = STRAIGHT, LIKE
    basis, bounds = np.eye(design.shape[1]), [(None, None)] * design.shape[1]
    for name, begin, stop in zip(KNOTS, ends, ends[1:], strict=False):
        if name in FALLING:  # values as a first one and steps from each to the next
            basis[begin:stop, begin:stop] = np.tril(np.ones((stop - begin, stop - begin)))
            bounds[begin + 1 : stop] = [(None, 0.0)] * (stop - begin - 1)
    for at, name in enumerate(OF_CLASS, ends[-1]):
        if name.startswith(FALLING):
            bounds[at] = (None, 0.0)
    design, penalty = design @ basis, basis.T @ penalty @ basis
    sign = np.where(label, 1.0, -1.0)

    def loss(beta: Floats) -> tuple[float, Floats]:
        margin = sign * (design @ beta)
        slope = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        value = np.logaddexp(0, -margin).sum() + 0.5 * beta @ penalty @ beta
        return float(value), design.T @ slope + penalty @ beta

    start = np.zeros(design.shape[1])
    beta = basis @ minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000}).x
    parts = zip(KNOTS, ends, ends[1:], strict=False)
    values = {name: tuple(beta[start:stop].round(4).tolist()) for name, start, stop in parts}
    for (name, at), end in zip(OF_CLASS.items(), beta[of_lines].round(4).tolist(), strict=True):
        values[name] = (at[0] * end, at[1] * end)  # a line through the origin
    rows = {kind: features[kind] == 1 for kind in CLASSES}
    known = tuple(
        kind for kind, own in rows.items() if own.sum() >= ENOUGH * often and 0 < label[own].sum() < own.sum()
    )
    weights = tuple((spread @ beta[of_likeness]).round(4).tolist())
    return Additive(round(float(beta[0]), 4), KNOTS | OF_CLASS, values, known, weights=weights)


def _hats(x: Floats, at: tuple[float, ...]) -> Floats:
    """(n, k) weights of the values at the knots in the interpolation at x (n,)."""
    return np.column_stack([np.interp(x, at, row) for row in np.eye(len(at))])


if __name__ == "__main__":
    main()
