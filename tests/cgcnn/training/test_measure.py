"""Figures of rows that were not fitted on, and of parts of them."""

from __future__ import annotations

import numpy as np
import pytest

from cgcnn.models.files import load
from cgcnn.models.model import Model
from cgcnn.training.data import TrainingTable
from cgcnn.training.measure import STABLE_AT, Unseen, figures_of_parts

NAN = float("nan")
ENERGY = "e_above_hull"


@pytest.fixture
def unseen() -> Unseen:
    """Six rows: four ABX3, of which one label is a bound and one is missing, and two doubles."""
    model = load("mp")
    names = model.settings.targets
    labels = np.full((6, len(names)), NAN, dtype=np.float32)
    labels[:, 0] = [0.01, 0.04, 0.2, NAN, 0.0, 0.06]
    labels[:, names.index("p_tilted")] = [1, NAN, 0, 1, 0, 1]
    labels[:, names.index("band_gap")] = [0, 0, 1.5, NAN, 2, 0]
    predictions = np.zeros((2, 6, len(names)), dtype=np.float32)
    predictions[:, :, 0] = [0.02, 0.14, 0.04, 9, 0.02, 0.03]
    predictions[:, :, names.index("band_gap")] = [0.2, 0, 1, 0, 0.1, 0.3]
    bound = np.zeros(labels.shape, dtype=np.bool_)
    bound[2, 0] = True
    shape = np.array([0, 0, 0, 0, 1, 1], dtype=np.int8)
    species = np.full((6, 5), 8, dtype=np.uint8)
    table = TrainingTable(tuple("abcdef"), labels, np.zeros(6, np.int64), shape, species, bound=bound)
    return Unseen(table, predictions, None, Model(model.card, model.members, model.domain))


def told(unseen: Unseen, metric: str, target: str = ENERGY) -> dict[str, float]:
    found = [m for m in figures_of_parts(unseen, "these") if (m.metric, m.target) == (metric, target)]
    return {m.split: round(m.value, 4) for m in found}


def test_errors_of_parts(unseen: Unseen) -> None:
    assert told(unseen, "MAE") == {
        "these": 0.064,
        "cubic-perovskite rows of these": 0.09,
        "2 cubic-perovskite rows where the label is no bound, of these": 0.055,
        "1 cubic-perovskite rows where p_tilted is yes, of these": 0.01,
        "double-perovskite rows of these": 0.025,
        "2 double-perovskite rows where the label is no bound, of these": 0.025,
        "1 double-perovskite rows where p_tilted is yes, of these": 0.03,
    }


def test_what_numbers_decide(unseen: Unseen) -> None:
    singles = "cubic-perovskite rows of these"
    assert told(unseen, f"recall of at most {STABLE_AT} eV/atom")[singles] == 0.5
    assert told(unseen, f"precision of at most {STABLE_AT} eV/atom")[singles] == 0.5
    assert told(unseen, f"AUC of at most {STABLE_AT} eV/atom")[singles] == 0.5
    assert told(unseen, "AUC of more than 0 eV", "band_gap")["these"] == pytest.approx(4 / 6, abs=1e-4)
