"""What labelled rows say of a model: figures of merit, and deviations that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.inference.metrics import figures
from cgcnn.models.card import Calibration, Metric
from cgcnn.models.domain import Domain
from cgcnn.models.reliability import fit_deviation, reliability
from cgcnn.models.spread import spread_of
from cgcnn.training.table import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.models.model import Model
    from cgcnn.training.table import Table

_PLAIN = {"R2", "accuracy", "precision", "recall", "F1", "AUC"}  # without a unit
_ONE_MEMBER = {"MAE", "AUC"}  # told of single members, too


def figures_of(
    model: Model, predictions: NDArray[np.float32], labels: NDArray[np.float32], part: str, text: str = ""
) -> tuple[Metric, ...]:
    """Figures on labelled rows: of the ensemble for every target, and of single members, in the mean, for the first.

    They are MAE, RMSE and R2 of a number; accuracy, precision, recall, F1 and AUC of a binary target. Those that are
    not defined are left out.

    Args:
        model: Whose.
        predictions: (members, n, T), from `outputs`.
        labels: (n, T), NaN where missing.
        part: Which rows these are, for the card.
        text: How they were chosen, where the number of labelled ones is to be told before it.
    """
    found: list[tuple[str, int, float, int]] = []  # metric, target, value, rows
    for j, name in enumerate(model.settings.targets):
        known, binary = ~np.isnan(labels[:, j]), name in model.settings.binary
        if not known.any():
            continue
        whole, *single = (
            figures(each[known, j], labels[known, j], binary=binary)
            for each in [predictions.mean(axis=0), *(predictions if j == 0 and len(predictions) > 1 else [])]
        )
        for metric, value in whole.items():
            found.append((metric, j, value, int(known.sum())))
            if single and metric in _ONE_MEMBER:
                mean = float(np.mean([member[metric] for member in single]))
                found.append((f"{metric}, one member", j, mean, int(known.sum())))
    return tuple(
        Metric(
            metric=metric,
            target=model.card.targets[j].name,
            value=value,
            unit="" if metric.split(",")[0] in _PLAIN else model.card.targets[j].unit,
            split=f"{part}, {rows} rows{text}" if text else part,
            input=model.card.input,
        )
        for metric, j, value, rows in found
        if np.isfinite(value)
    )


def outputs(model: Model, table: Table) -> NDArray[np.float32]:
    """What each member says of each row, (members, n, T) in the targets' units."""
    domain = model.domain if isinstance(model.domain, Domain) else None
    return model.kernel.predict(inputs(table, model.settings, model.card.prototypes, domain))


def calibrations(model: Model, table: Table, predictions: NDArray[np.float32], split: str) -> tuple[Calibration, ...]:
    """How the spread of an ensemble has to grow to hold on labelled rows that it has not seen, for every number.

    Args:
        model: Whose.
        table: N rows.
        predictions: (members, n, T), from `outputs`.
        split: Which rows these are, for the card.
    """
    if len(model.members) < 2:
        return ()
    labels = table.targets  # (n, T)
    shares = role_shares(table, model.card.prototypes)  # (n, roles * 101)
    spreads = spread_of(predictions, model.settings)  # (n, T)
    found = []
    for j, name in enumerate(model.settings.targets):
        known = ~np.isnan(labels[:, j])
        if known.any() and name not in model.settings.binary:
            error = predictions[:, known, j].mean(axis=0) - labels[known, j]
            spread = spreads[known, j]
            how = fit_deviation(error, spread, shares[known])
            seen = reliability(error, spread, shares[known])
            found.append(
                Calibration(
                    target=name,
                    scale=how.scale,
                    floor=how.floor,
                    split=split,
                    factors=_named(how.log_factors, model.card.prototypes),
                    held=seen.held,
                    by_element=seen.by_element,
                )
            )
    return tuple(found)


def role_shares(table: Table, prototypes: Sequence[str]) -> NDArray[np.float32]:
    """(n, R * 101) of the sites of each role, the share that holds an element; no columns for structures."""
    if not prototypes:
        return np.empty((len(table.targets), 0), dtype=np.float32)
    shares = np.zeros((len(table.targets), len(PROTOTYPES[prototypes[0]].role_names), MAX_Z + 1), dtype=np.float32)
    for position, prototype in enumerate(PROTOTYPES[name] for name in prototypes):
        rows, species = table.of(position, prototype)
        for role, numbers in zip(prototype.role_index, species.T, strict=True):
            shares[rows, role, numbers] += 1 / (prototype.role_index == role).sum()
    return shares.reshape(len(shares), -1)


def _named(log_factors: NDArray[np.float64], prototypes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Role → symbol → factor, of those that are not 1."""
    if not prototypes:
        return {}
    roles = PROTOTYPES[prototypes[0]].role_names
    table = log_factors.reshape(len(roles), -1)  # (R, 101)
    return {
        role: {SYMBOLS[z]: round(float(np.exp(row[z])), 4) for z in np.flatnonzero(row)}
        for role, row in zip(roles, table, strict=True)
    }
