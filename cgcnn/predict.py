"""Predict labelled or unlabelled records with a trained model, in their order."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from cgcnn import data
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.weights import Estimate, Model

AT_ONCE = 256  # crystals a batch; bounds memory


def predict_records(model: Model, records: Sequence[data.Record]) -> dict[str, Estimate]:
    """Every target's mean and deviation over the members, in the order of the records.

    Prototype models read the site columns (A, B, X), and nothing else; structure models read cell, species and frac.

    Raises:
        UserError: A record does not hold what the model reads.
    """
    if model.card.input == "prototype":
        return model.predict_prototype(data.species(records, model.prototype))
    parts = [
        model.predict(data.structure_graphs(records[i : i + AT_ONCE], model.settings))
        for i in range(0, len(records), AT_ONCE)
    ]
    return {
        name: (np.concatenate([p[name][0] for p in parts]), np.concatenate([p[name][1] for p in parts]))
        for name in model.settings.targets
    }


def write_predictions(path: Path, ids: Sequence[str], estimate: Estimate, *, spread: bool) -> None:
    """Write ``id,prediction[,std]``, one row a record; the file appears whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    mean, std = estimate
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["id", "prediction", "std"] if spread else ["id", "prediction"])
            for row in zip(ids, mean, std, strict=True) if spread else zip(ids, mean, strict=True):
                writer.writerow([row[0], *(f"{value:.7g}" for value in row[1:])])
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
