"""Predictions that cannot be: no numbers, or far beyond any material."""

import numpy as np
import pytest

from cgcnn.data.samples import Sample
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.inference.predict import predict_samples
from cgcnn.models.deviations import IMPOSSIBLE, possible
from cgcnn.models.model import Model
from cgcnn.testing import untrained


@pytest.mark.parametrize("value", [np.nan, np.inf, -9e26, 101])
def test_what_cannot_be_is_no_prediction(value):
    mean, spread = np.array([0.1, value], np.float32), np.array([0.1, 0.1], np.float32)
    for found in possible(mean, spread, "eV/atom"):
        assert np.isnan(found).tolist() == [False, True]
    assert not np.isnan(possible(np.float32([1e11]), np.float32([0]), "Pa")[0]).any()
    assert np.isnan(possible(np.float32([1]), np.float32([np.inf]), "")[0]).all()


def with_huge_weights(model, factor):
    members = [
        {
            name: a * np.float32(factor) if "output.weight" in name or "hidden" in name else a
            for name, a in member.items()
        }
        for member in model.members
    ]
    return Model(model.card, members, model.domain)


@pytest.mark.parametrize("factor", [1e18, 1e25])
@pytest.mark.filterwarnings("error")
def test_weights_that_overflow_give_failures_with_a_reason(factor):
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Sr"], "B": ["Ti"], "X": ["O"]})
    sample = Sample("a", {"A": "Sr", "B": "Ti", "X": "O"}, "record", "{}")
    assert not predict_samples(model, [sample]).failures
    found = predict_samples(with_huge_weights(model, factor), [sample])
    assert found.failures == {0: IMPOSSIBLE}
    assert np.isnan(found.estimates[model.settings.targets[0]][0]).all()
