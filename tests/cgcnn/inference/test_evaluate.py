"""Figures of merit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.inference.evaluate import auc, classification, regression, roc, threshold

properties = settings(max_examples=50, deadline=None, derandomize=True)
rows = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=30)


def test_regression_by_hand() -> None:
    found = regression(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]))
    assert found == pytest.approx({"MAE": 1.0, "RMSE": math.sqrt(5 / 3), "R2": 1 - 5 / 2})


def test_classification_by_hand() -> None:
    found = classification(np.array([0.9, 0.8, 0.4, 0.3, 0.1]), np.array([1, 0, 1, 0, 0.0]))
    assert found == pytest.approx({"accuracy": 0.6, "precision": 0.5, "recall": 0.5, "F1": 0.5, "AUC": 5 / 6})


def test_a_threshold_by_hand() -> None:
    found = threshold(np.array([0.1, 0.04, 0.02, 0.3]), np.array([0.05, 0.0, 0.2, 0.4]), 0.05)
    assert found == pytest.approx({"recall": 0.5, "precision": 0.5, "AUC": 0.5})


def test_what_is_not_defined_is_nan() -> None:
    assert math.isnan(regression(np.zeros(2), np.ones(2))["R2"])
    found = classification(np.array([0.1, 0.2]), np.zeros(2))
    assert found["accuracy"] == 1
    assert all(math.isnan(found[name]) for name in ("precision", "recall", "F1", "AUC"))


@properties
@given(rows)
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[float, bool]]) -> None:
    probability, label = np.array([p for p, _ in pairs]), np.array([float(y) for _, y in pairs])
    yes, no = probability[label == 1], probability[label == 0]
    if not len(yes) or not len(no):
        assert math.isnan(auc(probability, label))
        return
    wins = (yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2
    assert auc(probability, label) == pytest.approx(wins)


@properties
@given(rows)
def test_roc_runs_from_corner_to_corner(pairs: list[tuple[float, bool]]) -> None:
    probability, label = np.array([p for p, _ in pairs]), np.array([float(y) for _, y in pairs])
    for rate, count in zip(roc(probability, label), ((label == 0).sum(), (label == 1).sum()), strict=True):
        assert rate[0] == 0
        assert rate[-1] == (1 if count else 0)
        assert (np.diff(rate) >= 0).all()
