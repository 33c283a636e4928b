"""Measure a model on labelled rows: figures of merit, and calibrated standard deviations.

Shapes: n rows, T targets, R roles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.inference.evaluate import auc, figures, threshold
from cgcnn.models.card import Calibration, Metric, Odds
from cgcnn.models.deviations import (
    features,
    fit_deviation,
    fit_odds,
    fit_support,
    held_out,
    in_turn,
    interval_score,
    reliability,
    spread_of,
)
from cgcnn.models.domain import Domain, anion_shares
from cgcnn.training.data import inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.models.deviations import Values
    from cgcnn.models.model import Model
    from cgcnn.network.settings import Settings
    from cgcnn.training.data import TrainingTable

_PLAIN = {"R2", "accuracy", "precision", "recall", "F1", "AUC"}  # without a unit
AS_GOOD = 1.01  # ratio of interval scores that count as equal
LEAST = 50  # rows; fewer say little about odds
STABLE_AT = 0.05  # eV/atom above the hull; up to this counts as stable
_ONE_MEMBER = {"MAE", "AUC"}  # also reported for single members


@dataclass(frozen=True)
class Unseen:
    """Labelled rows with the predictions of networks that were not fitted on them.

    Attributes:
        table: The n rows.
        predictions: (members, n, T) in the targets' units.
        support: (n, R) number of training rows that share a row's elements on a role and its anions; None for
            structures. See `cgcnn.models.deviations`.
        model: One of the models that predicted; all share its settings and card.
    """

    table: TrainingTable
    predictions: NDArray[np.float32]
    support: NDArray[np.int32] | None
    model: Model

    @classmethod
    def of(cls, model: Model, table: TrainingTable) -> Unseen:
        """Predict the rows of a table."""
        return cls(table, outputs(model, table), _support(model, table), model)

    @classmethod
    def in_turn(cls, models: Sequence[Model], table: TrainingTable, held: Sequence[NDArray[np.bool_]]) -> Unseen:
        """Predict the rows of a table, each by the model that was fitted without it.

        Args:
            models: k models of one recipe.
            table: All rows.
            held: k times (rows,) bool, rows held out of a model; each row at most once.
        """
        parts = [cls.of(model, table.rows(own)) for model, own in zip(models, held, strict=True)]
        order = np.argsort(np.concatenate([np.flatnonzero(own) for own in held]))
        supports = [part.support for part in parts if part.support is not None]
        return cls(
            table.rows(np.any(held, axis=0)),
            np.concatenate([part.predictions for part in parts], axis=1)[:, order],
            np.concatenate(supports)[order] if supports else None,
            models[0],
        )


def figures_of_parts(unseen: Unseen, part: str) -> tuple[Metric, ...]:
    """Compute the figures of unseen rows, and of their parts by prototype.

    For each prototype, also report the first target where its label is not an upper bound, and where a binary target is
    yes.

    Args:
        unseen: The rows.
        part: Description of the rows, for the card.
    """
    model, table = unseen.model, unseen.table
    metrics = figures_of(model, unseen.predictions, table.targets, part)
    if table.shape is None or len(model.card.prototypes) < 2:
        return metrics
    first, names = table.targets[:, :1], model.settings.targets
    for position, name in enumerate(model.card.prototypes):
        mine = table.shape == position
        metrics += figures_of(model, unseen.predictions[:, mine], table.targets[mine], f"{name} rows of {part}")
        known = mine & ~np.isnan(first[:, 0])
        kinds = {
            f"{binary} is yes": known & (table.targets[:, names.index(binary)] == 1)
            for binary in names
            if binary in model.settings.binary
        }
        if table.bound is not None:
            kinds = {"the label is no bound": known & ~table.bound[:, 0], **kinds}
        for text, rows in kinds.items():
            said = f"{rows.sum()} {name} rows where {text}, of {part}"
            metrics += figures_of(model, unseen.predictions[:, rows, :1], first[rows], said) if rows.any() else ()
    return metrics


def figures_of(
    model: Model, predictions: NDArray[np.float32], labels: NDArray[np.float32], part: str, text: str = ""
) -> tuple[Metric, ...]:
    """Compute the figures of the ensemble for every target, and the mean figures of single members for the first.

    Numbers have MAE, RMSE and R2; binary targets have accuracy, precision, recall, F1 and AUC. An energy above hull
    also has recall, precision and AUC of being stable (`STABLE_AT`), a band gap the AUC of being no metal. Undefined
    figures are left out.

    Args:
        model: The model that predicted.
        predictions: (members, n, T) from `outputs`, or of the first targets only.
        labels: (n, T), NaN where missing.
        part: Description of the rows, for the card.
        text: How the rows were chosen; if given, the number of labelled rows stands before it.
    """
    found: list[tuple[str, int, float, int]] = []  # metric, target, value, rows
    for j, name in enumerate(model.settings.targets[: labels.shape[1]]):
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
        mean = predictions[:, known, j].mean(axis=0)
        found += [(metric, j, value, int(known.sum())) for metric, value in _decided(name, mean, labels[known, j])]
    return tuple(
        Metric(
            metric=metric,
            target=model.card.targets[j].name,
            value=value,
            unit="" if metric.split(",")[0].split(" of ")[0] in _PLAIN else model.card.targets[j].unit,
            split=f"{part}, {rows} rows{text}" if text else part,
            input=model.card.input,
        )
        for metric, j, value, rows in found
        if np.isfinite(value)
    )


def _decided(name: str, prediction: Values, label: Values) -> list[tuple[str, float]]:
    """Compute the figures of a decision: being stable by an energy above hull, being no metal by a band gap."""
    if name == "band_gap":
        return [("AUC of more than 0 eV", auc(prediction, label > 0))]
    if name != "e_above_hull":
        return []
    said = threshold(prediction, label, STABLE_AT)
    return [(f"{metric} of at most {STABLE_AT} eV/atom", value) for metric, value in said.items()]


def outputs(model: Model, table: TrainingTable) -> NDArray[np.float32]:
    """Predict each row by each member, (members, n, T) in the targets' units."""
    domain = model.domain if isinstance(model.domain, Domain) else None
    return model.kernel.predict(inputs(table, model.settings, model.card.prototypes, domain))


def calibrations(unseen: Unseen, split: str) -> tuple[Calibration, ...]:
    """Calibrate the spread of an ensemble on unseen labelled rows, for every target that is a number.

    Args:
        unseen: The rows.
        split: Description of the rows, for the card.
    """
    if len(unseen.predictions) < 2:
        return ()
    found = []
    for j, name in enumerate(unseen.model.settings.targets):
        if name not in unseen.model.settings.binary and not np.isnan(unseen.table.targets[:, j]).all():
            how, std, error, shares = calibrate(unseen, j)
            seen = reliability(error, std, shares)
            told = {"split": split, "held": seen.held, "by_element": seen.by_element}
            found.append(how.model_copy(update=told))
    return tuple(found)


def odds(
    settings: Settings, labels: NDArray[np.float32], predictions: NDArray[np.float32], split: str
) -> tuple[Odds, ...]:
    """Calibrate the odds of binary targets on labelled rows that an ensemble has not seen.

    Targets with fewer than `LEAST` rows of yes or of no are left as they are.

    Args:
        settings: Settings of the networks.
        labels: (n, T), NaN where missing.
        predictions: (members, n, T) from `outputs`.
        split: Description of the rows, for the card.
    """
    found = []
    for j, name in enumerate(settings.targets):
        known = ~np.isnan(labels[:, j])
        yes = labels[known, j] > 0.5
        if name in settings.binary and min(yes.sum(), (~yes).sum()) >= LEAST:
            power, factor = fit_odds(predictions[:, known, j].mean(axis=0), yes)
            found.append(Odds(target=name, power=power, factor=factor, split=split))
    return tuple(found)


def calibrate(
    unseen: Unseen, column: int
) -> tuple[Calibration, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Calibrate the standard deviations of a target, and compute those of its k labelled rows by fits without them.

    For the first target of compositions, deviations grow with missing support (`cgcnn.models.deviations`) if this gives
    as good an interval score on held-out rows, because it is then more even over the elements.

    Args:
        unseen: The rows.
        column: Position of the target.

    Returns:
        The calibration, deviations (k,), errors (k,), and the shares of elements (k, R * 101).
    """
    model, table, predictions = unseen.model, unseen.table, unseen.predictions
    known = ~np.isnan(table.targets[:, column])
    shares = role_shares(table, model.card.prototypes)[known]
    mean = predictions[:, known, column].mean(axis=0)
    spread = spread_of(predictions, model.settings)[known, column]
    error = mean - table.targets[known, column]
    how, std = _by_spread(model, column, error, spread, shares), held_out(error, spread, shares)
    if column == 0 and unseen.support is not None:
        anions, doubles = _anions(table, model.card.prototypes)
        rows = features(mean, spread, unseen.support[known], is_double=doubles[known])
        other, held = _by_support(how, error, rows, anions[known])
        if interval_score(error, held) < AS_GOOD * interval_score(error, std):
            how, std = other, held
    return how, std, error, shares


def _by_spread(model: Model, column: int, error: Values, spread: Values, shares: NDArray[np.float32]) -> Calibration:
    """Calibrate by the members' spread and factors of elements."""
    how = fit_deviation(error, spread, shares)
    factors = _named(how.log_factors, model.card.prototypes)
    name = model.settings.targets[column]
    return Calibration(target=name, scale=how.scale, floor=how.floor, split="", factors=factors)


def _by_support(
    plain: Calibration, error: Values, rows: NDArray[np.float64], anions: NDArray[np.float64]
) -> tuple[Calibration, NDArray[np.float32]]:
    """Calibrate by the support of each row, and compute deviations (n,), each by a fit without the row."""

    def fitted(rest: NDArray[np.bool_]) -> NDArray[np.float32]:
        return fit_support(error[rest], rows[rest], anions[rest]).of(rows[~rest], anions[~rest])

    whole = fit_support(error, rows, anions)
    weights = tuple(float(weight) for weight in whole.weights)
    by_anion = {SYMBOLS[z]: float(whole.anions[z]) for z in np.flatnonzero(whole.anions)}
    how = {"scale": 1.0, "floor": 0.0, "factors": {}, "support": weights, "anions": by_anion}
    return plain.model_copy(update=how), in_turn(len(error), fitted)


def _support(model: Model, table: TrainingTable) -> NDArray[np.int32] | None:
    """Count (n, R) the training rows of a model that support each row of a table; None for structures."""
    if not model.card.prototypes:
        return None
    found = np.zeros((len(table.targets), len(model.support.counts)), dtype=np.int32)
    for prototype, rows, species in table.by_prototype(model.card.prototypes):
        found[rows] = model.support.rows(prototype, species)
    return found


def _anions(table: TrainingTable, prototypes: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the shares of the elements on X (n, 101) of compositions, and whether they have two B (n,)."""
    shares, doubles = np.zeros((len(table.targets), MAX_Z + 1)), np.zeros(len(table.targets), dtype=np.bool_)
    for prototype, rows, species in table.by_prototype(prototypes):
        shares[rows] = anion_shares(prototype, species)
        doubles[rows] = (prototype.role_index == 1).sum() > 1
    return shares, doubles


def role_shares(table: TrainingTable, prototypes: Sequence[str]) -> NDArray[np.float32]:
    """Return (n, R * 101) the share of each role's sites that holds an element; no columns for structures."""
    if not prototypes:
        return np.empty((len(table.targets), 0), dtype=np.float32)
    shares = np.zeros((len(table.targets), len(PROTOTYPES[prototypes[0]].role_names), MAX_Z + 1), dtype=np.float32)
    for position, prototype in enumerate(PROTOTYPES[name] for name in prototypes):
        rows, species = table.of(position, prototype)
        for role, numbers in zip(prototype.role_index, species.T, strict=True):
            shares[rows, role, numbers] += 1 / (prototype.role_index == role).sum()
    return shares.reshape(len(shares), -1)


def _named(log_factors: NDArray[np.float64], prototypes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return role → symbol → factor, without factors of 1."""
    if not prototypes:
        return {}
    roles = PROTOTYPES[prototypes[0]].role_names
    table = log_factors.reshape(len(roles), -1)  # (R, 101)
    return {
        role: {SYMBOLS[z]: round(float(np.exp(row[z])), 4) for z in np.flatnonzero(row)}
        for role, row in zip(roles, table, strict=True)
    }
