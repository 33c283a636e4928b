"""A model against labelled crystals: figures of merit, and the rows that they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import shapes
from cgcnn.data.labels import targets
from cgcnn.data.tables import open_table
from cgcnn.errors import UserError
from cgcnn.files import csv_cell, write_whole
from cgcnn.inference.metrics import figures
from cgcnn.inference.predict import predict_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.build import Builder
    from cgcnn.data.sample import Sample
    from cgcnn.models.model import Model


@dataclass(frozen=True)
class Evaluation:
    """One target of a model on n labelled crystals that it could predict.

    Attributes:
        target: The model's name for it.
        unit: Of the values.
        binary: Whether it is yes or no.
        ids: N names.
        label: (n,) float32.
        prediction: (n,) float32; a probability for a binary target.
        std: (n,) float32, deviation over the members.
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
        """MAE, RMSE and R2; or accuracy, precision, recall, F1 and AUC. NaN where not defined."""
        return figures(self.prediction, self.label, binary=self.binary)


def evaluate(
    model: Model, samples: Sequence[Sample], target: str, label: str | None = None, builder: Builder | None = None
) -> Evaluation:
    """Predict labelled crystals and compare.

    Args:
        model: A trained model.
        samples: From `cgcnn.data.read.read`; those without a label are left out.
        target: One of the model's targets.
        label: The label to compare with; by default the one named as the target, or the ``target`` of an id_prop.csv.
        builder: How to build graphs; see `cgcnn.inference.predict.predict_samples`.

    Raises:
        UserError: The model has no such target, no crystal has a label, a label is not a number, or all crystals fail.
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
        UserError: The file cannot be read, or names none of them.
    """
    table = open_table(path, header=False)
    ids = {row.cells[0] for row in table.rows}
    found = [sample for sample in samples if not ids.isdisjoint((sample.id, csv_cell(sample.id)))]
    if not found:
        raise UserError(f"{path}: none of the {len(samples)} crystals is in its first column")
    return found


def write_figures(path: Path, evaluation: Evaluation, model: Model) -> None:
    """Write the figures as JSON; those that are not defined are null.

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
