r"""Fits and judges the column `p_perovskite`, on compositions of which it is known whether they are perovskites.

\b
perovskite_probability.py DIR                       ten-fold cross-validation on abx3.csv and icsd-doubles.csv of DIR
perovskite_probability.py DIR --data DATA           also with energies by ensembles that did not see the formulas
perovskite_probability.py DIR --write FILE          and the fit to all rows, as the package ships it

DATA is what the model was trained on. With it every row counts twice in a fit, once with the energies of the shipped
model, which saw many of them, and once with those: what is fitted then trusts energies no more than they deserve on
new compositions.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from accuracy import prepared
from experiment import FALSE, label_of, read, recall_at, species_of

from cgcnn.cli import options as command_line
from cgcnn.cli.terminal import Reporter
from cgcnn.data.composition import formula_group
from cgcnn.files import write_whole
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.inference.evaluate import auc
from cgcnn.models.files import load
from cgcnn.training.checkpoints import claim
from cgcnn.training.protocols import without_folds
from cgcnn.training.recipe import read_recipe
from screening.chemistry.descriptors import columns
from screening.chemistry.perovskite_probability import ENERGIES, Additive, features_of, to_json

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
}
ROUGH, RIDGE = 0.1, 0.2  # penalties of squared changes of slope, and of squared values
FILES = {"abx3.csv": CUBIC_PEROVSKITE, "icsd-doubles.csv": DOUBLE_PEROVSKITE}
FOLDS, REPEATS = 10, 3
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
    for file, prototype in FILES.items():
        rows = read(data / file)
        label = label_of(rows, data / file) > 0
        variants = [_features(rows, prototype, [model] * len(rows))]
        if unseen:
            variants.append(_features(rows, prototype, [unseen[fold] for fold in folds(rows, prototype, len(unseen))]))
        print(f"{file}: {len(label)} rows, {int(label.sum())} perovskites, {REPEATS} times {FOLDS} folds")
        for text, found in zip(
            ("energies of the model", "held-out energies"), cross_validated(variants, label), strict=False
        ):
            said, brier = (found > 0.5) == label, np.square(found - label).mean()
            area, recall = auc(found, label), recall_at(found, label)
            print(
                f"  {text}: AUC {area:.3f}, recall {recall:.3f} at {FALSE:.0%} false, accuracy {said.mean():.3f}, "
                f"Brier score {brier:.4f}"
            )
        models[prototype.name] = _fit(variants, np.ones(len(label), dtype=np.bool_), label)
    if write is not None:
        write_whole(write, to_json(models))


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
    found = dict(columns(species, prototype)) | {energy: np.empty(len(rows)) for energy in ENERGIES}
    for model in set(models):
        own = np.array([one is model for one in models])
        predicted = model.on(prototype.name).predict(species[own])
        for energy in ENERGIES:
            found[energy][own] = predicted[energy][0]
    return features_of(found)


def cross_validated(variants: list[Features], label: NDArray[np.bool_]) -> list[Floats]:
    """For each variant of the features the mean probability (n,) by fits that did not see the row."""
    found = [np.zeros(len(label)) for _ in variants]
    for repeat in range(REPEATS):
        rng, part = np.random.default_rng(repeat), np.zeros(len(label), dtype=np.int64)
        for kind in (True, False):
            rows = rng.permutation(np.flatnonzero(label == kind))
            part[rows] = np.arange(len(rows)) % FOLDS
        for fold in range(FOLDS):
            model, held = _fit(variants, part != fold, label), part == fold
            for probability, features in zip(found, variants, strict=True):
                probability[held] += model.probability({name: features[name][held] for name in KNOTS}) / REPEATS
    return found


def _fit(variants: list[Features], chosen: NDArray[np.bool_], label: NDArray[np.bool_]) -> Additive:
    features = {name: np.concatenate([variant[name][chosen] for variant in variants]) for name in KNOTS}
    return fit_additive(features, np.tile(label[chosen], len(variants)))


def fit_additive(features: Features, label: NDArray[np.bool_]) -> Additive:
    """The model with the least penalised cross entropy, from features (n,) and whether rows are perovskites (n,)."""
    from scipy.optimize import minimize  # slow to import

    blocks = [_hats(features[name], at) for name, at in KNOTS.items()]
    design = np.hstack([np.ones((len(label), 1)), *blocks])
    ends = np.cumsum([1, *(block.shape[1] for block in blocks)])
    penalty = np.zeros((design.shape[1], design.shape[1]))
    for block, start, stop in zip(blocks, ends, ends[1:], strict=False):
        second = np.diff(np.eye(block.shape[1]), n=2, axis=0)
        penalty[start:stop, start:stop] = ROUGH * second.T @ second + RIDGE * np.eye(block.shape[1])
    sign = np.where(label, 1.0, -1.0)

    def loss(beta: Floats) -> tuple[float, Floats]:
        margin = sign * (design @ beta)
        slope = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        value = np.logaddexp(0, -margin).sum() + 0.5 * beta @ penalty @ beta
        return float(value), design.T @ slope + penalty @ beta

    beta = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    parts = zip(KNOTS, ends, ends[1:], strict=False)
    values = {name: tuple(beta[start:stop].round(4).tolist()) for name, start, stop in parts}
    return Additive(round(float(beta[0]), 4), dict(KNOTS), values)


def _hats(x: Floats, at: tuple[float, ...]) -> Floats:
    """(n, k) weights of the values at the knots in the interpolation at x (n,)."""
    return np.column_stack([np.interp(x, at, row) for row in np.eye(len(at))])


if __name__ == "__main__":
    main()
