"""Figures of merit, from predictions and labels as numpy arrays of one dimension."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.floating]


def regression(prediction: Values, label: Values) -> dict[str, float]:
    """MAE, RMSE and R² of n predictions; R² is NaN where the labels do not differ."""
    error = prediction.astype(np.float64) - label
    spread = np.square(label - np.mean(label, dtype=np.float64)).sum()
    square = np.square(error).sum()
    return {
        "MAE": float(np.abs(error).mean()),
        "RMSE": math.sqrt(square / len(error)),
        "R2": float(1 - square / spread) if spread > 0 else math.nan,
    }


def classification(probability: Values, label: Values) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and AUC of n probabilities of yes; a probability above one half says yes.

    What is not defined, such as the recall without a yes among the labels, is NaN.
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
    """Recall, precision and AUC of being at most a threshold, by n predictions of the number; NaN if not defined."""
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
    """False and true positive rates (k,) as the threshold falls through the distinct probabilities."""
    values, group = np.unique(-probability, return_inverse=True)
    true = np.bincount(group, weights=label > 0.5, minlength=len(values))
    false = np.bincount(group, weights=label <= 0.5, minlength=len(values))
    rates = [np.concatenate([[0.0], np.cumsum(count)]) / max(count.sum(), 1) for count in (false, true)]
    return rates[0], rates[1]


def auc(probability: Values, label: NDArray[Any]) -> float:
    """Area under the ROC curve; NaN unless both yes and no are among the labels."""
    if not 0 < (label > 0.5).sum() < len(label):
        return math.nan
    false, true = roc(probability, label)
    return float((np.diff(false) * (true[1:] + true[:-1])).sum() / 2)


def figures(prediction: Values, label: Values, *, binary: bool) -> dict[str, float]:
    """The figures of a target's kind."""
    return classification(prediction, label) if binary else regression(prediction, label)
