"""The probability that what is made is a perovskite."""

import json

import numpy as np
import pytest

from cgcnn.graphs.prototype import PROTOTYPES
from screening.chemistry.perovskite_probability import Additive, features_of, fitted, p_perovskite, to_json

GOOD = {"tau": 3.6, "tolerance_factor": 0.97, "octahedral_factor": 0.45}  # about SrTiO3
POOR = {"tau": 6.5, "tolerance_factor": 0.75, "octahedral_factor": 0.25}
STABLE = {"wolverton_e_above_hull": 0.0, "formation_energy": -3.4}
UNSTABLE = {"wolverton_e_above_hull": 0.8, "formation_energy": -0.8}


def arrays(*rows):
    return {name: np.array([row[name] for row in rows], dtype=np.float32) for name in rows[0]}


@pytest.mark.parametrize("prototype", PROTOTYPES)
def test_good_sizes_and_low_energies_speak_for_a_perovskite(prototype):
    best, worst, sizes, energies = p_perovskite(
        arrays(GOOD | STABLE, POOR | UNSTABLE, GOOD | UNSTABLE, POOR | STABLE), prototype
    )
    assert best > 0.9
    assert worst < 0.5
    assert best > max(sizes, energies)
    assert min(sizes, energies) > worst


def test_the_log_odds_are_a_sum_of_piecewise_linear_functions():
    model = Additive(0.5, {"x": (0.0, 1.0), "y": (0.0, 2.0)}, {"x": (0.0, 4.0), "y": (1.0, -1.0)})
    found = model.probability({"x": np.array([0.25, 9.0, np.nan]), "y": np.array([1.0, -9.0, 0.0])})
    assert found[:2] == pytest.approx(1 / (1 + np.exp(-np.array([1.5, 5.5]))))
    assert np.isnan(found[2])


def test_a_without_room_counts_as_the_largest_tau():
    rows = arrays(GOOD | STABLE | {"tau": np.nan}, GOOD | STABLE | {"tau": 50.0})
    assert features_of(rows)["tau"].tolist() == [8.0, 8.0]


def test_what_is_written_is_what_is_read():
    for prototype, content in json.loads(to_json(fitted())).items():
        model = fitted()[prototype]
        assert (content["constant"], set(content["knots"])) == (model.constant, set(model.knots))
        assert all(len(model.knots[name]) == len(model.values[name]) for name in model.knots)
