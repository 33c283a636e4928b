"""Figures of merit, and a model measured on labelled crystals."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.composition import shapes
from cgcnn.data.labels import targets
from cgcnn.data.tables import open_table
from cgcnn.errors import UserError
from cgcnn.files import csv_cell, write_whole
from cgcnn.inference.predict import predict_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.build import Builder
    from cgcnn.data.samples import Sample
    from cgcnn.models.model import Model

    Values = NDArray[np.floating]


def regression(prediction: Values, label: Values) -> dict[str, float]:
    """Return MAE, RMSE and R² of n predictions; R² is NaN if the labels do not differ."""
    error = prediction.astype(np.float64) - label
    spread = np.square(label - np.mean(label, dtype=np.float64)).sum()
    square = np.square(error).sum()
    return {
        "MAE": float(np.abs(error).mean()),
        "RMSE": math.sqrt(square / len(error)),
        "R2": float(1 - square / spread) if spread > 0 else math.nan,
    }


def classification(probability: Values, label: Values) -> dict[str, float]:
    """Return accuracy, precision, recall, F1 and AUC of n probabilities; one above one half says yes.

    An undefined figure, such as the recall without a yes among the labels, is NaN.
    """
    said, true = probability > 0.5, label > 0.5
    right = int((said & true).sum())
    return {
        "accuracy": float((said == true).mean()),
        "precision": _share(right, int(said.sum())),
        "recall": _share(right, int(true.sum())),
        "F1": _share(2 * right, int(said.sum() + true.sum())),
        "AUC": auc(probability, label),
    }


def threshold(prediction: Values, label: Values, most: float) -> dict[str, float]:
    """Return recall, precision and AUC of n predictions of being at most a threshold; NaN if undefined."""
    said, true = prediction <= most, label <= most
    right = int((said & true).sum())
    return {
        "recall": _share(right, int(true.sum())),
        "precision": _share(right, int(said.sum())),
        "AUC": auc(-prediction, true),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def roc(probability: Values, label: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return false and true positive rates (k,) as the threshold falls through the distinct probabilities."""
    values, group = np.unique(-probability, return_inverse=True)
    true = np.bincount(group, weights=label > 0.5, minlength=len(values))
    false = np.bincount(group, weights=label <= 0.5, minlength=len(values))
    rates = [np.concatenate([[0.0], np.cumsum(count)]) / max(count.sum(), 1) for count in (false, true)]
    return rates[0], rates[1]


def auc(probability: Values, label: NDArray[Any]) -> float:
    """Return the area under the ROC curve; NaN unless both yes and no are among the labels."""
    if not 0 < (label > 0.5).sum() < len(label):
        return math.nan
    false, true = roc(probability, label)
    return float((np.diff(false) * (true[1:] + true[:-1])).sum() / 2)


def figures(prediction: Values, label: Values, *, binary: bool) -> dict[str, float]:
    """Return the figures that fit the kind of target."""
    return classification(prediction, label) if binary else regression(prediction, label)


@dataclass(frozen=True)
class Evaluation:
    """One target of a model on n labelled crystals that it could predict.

    Attributes:
        target: Name of the target.
        unit: Unit of the values.
        binary: Whether the target is yes or no.
        ids: Names of the n crystals.
        label: (n,) float32.
        prediction: (n,) float32; a probability if the target is binary.
        std: (n,) float32, standard deviation.
        failures: Position among all crystals → reason.
    """

    target: str
    unit: str
    binary: bool
    ids: list[str]
    label: NDArray[np.float32]
    prediction: NDArray[np.float32]
    std: NDArray[np.float32]
    failures: dict[int, str]

    @property
    def figures(self) -> dict[str, float]:
        """MAE, RMSE and R2; or accuracy, precision, recall, F1 and AUC. NaN if undefined."""
        return figures(self.prediction, self.label, binary=self.binary)


def evaluate(
    model: Model, samples: Sequence[Sample], target: str, label: str | None = None, builder: Builder | None = None
) -> Evaluation:
    """Predict labelled crystals and compare.

    Args:
        model: A trained model.
        samples: Samples from `cgcnn.data.read.read`; those without a label are ignored.
        target: One of the model's targets.
        label: The label to compare with; by default the one named like the target, or the ``target`` of an id_prop.csv.
        builder: Builds graphs; see `cgcnn.inference.predict.predict_samples`.

    Raises:
        UserError: The model has no such target, no crystal has a label, a label is no number, or all crystals fail.
    """
    names = model.settings.targets
    if target not in names:
        raise UserError(f"`target` {target}: model {model.card.name} predicts {', '.join(names)}")
    unnamed = any("target" in sample.labels for sample in samples) and not any(target in e.labels for e in samples)
    column = label or ("target" if unnamed else target)
    binary = target in model.settings.binary
    records = [sample.labels for sample in samples]
    kinds = shapes(records, model.card.prototypes) if model.card.prototypes else []
    known = targets(records, [column], kinds, [column] if binary else [])[:, 0]
    found = predict_samples(model, samples, builder)
    mean, std = found.estimates[target]
    rows = np.flatnonzero(~np.isnan(known) & ~np.isnan(mean))
    if not len(rows):
        reason = next(iter(found.failures.values()), "labels and predictions are of different crystals")
        raise UserError(f"no labelled crystal could be predicted; the first reason: {reason}")
    unit = model.card.targets[names.index(target)].unit
    ids = [samples[i].id for i in rows.tolist()]
    return Evaluation(target, unit, binary, ids, known[rows], mean[rows], std[rows], found.failures)


def listed_in(path: Path, samples: Sequence[Sample]) -> list[Sample]:
    """Find the samples whose ids are in the first column of a table, in their own order.

    Raises:
        UserError: The file cannot be read, or names none of the samples.
    """
    table = open_table(path, header=False)
    ids = {row.cells[0] for row in table.rows}
    found = [sample for sample in samples if not ids.isdisjoint((sample.id, csv_cell(sample.id)))]
    if not found:
        raise UserError(f"{path}: none of the {len(samples)} crystals is in its first column")
    return found


def write_figures(path: Path, evaluation: Evaluation, model: Model) -> None:
    """Write the figures as JSON; undefined ones are null.

    Raises:
        UserError: The file cannot be written.
    """
    values = {name: None if np.isnan(value) else value for name, value in evaluation.figures.items()}
    content = {
        "model": model.card.name,
        "digest": model.digest,
        "target": evaluation.target,
        "unit": evaluation.unit,
        "rows": len(evaluation.ids),
        "failures": len(evaluation.failures),
        "figures": values,
    }
    write_whole(path, json.dumps(content, indent=2) + "\n")
