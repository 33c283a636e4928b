"""The probability that what is made is a perovskite."""

import json

import numpy as np
import pytest

from cgcnn.elements import atomic_number
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.chemistry.perovskite_probability import (
    Additive,
    features_of,
    fitted,
    likeness,
    p_perovskite,
    places_of,
    to_json,
)

GOOD = {"tau": 3.6, "tolerance_factor": 0.97, "octahedral_factor": 0.45}  # about SrTiO3
POOR = {"tau": 6.5, "tolerance_factor": 0.75, "octahedral_factor": 0.25}
STABLE = {"wolverton_e_above_hull": 0.0, "formation_energy": -3.4, "e_above_hull": 0.0}
UNSTABLE = {"wolverton_e_above_hull": 0.8, "formation_energy": -0.8, "e_above_hull": 0.4}
CATIONS = {"cubic-perovskite": (38, 22), "double-perovskite": (38, 22, 40)}
ANIONS = {"oxide": "O", "fluoride": "F", "halide": "Br", "chalcogenide": "S"}


def arrays(*rows, x="O", prototype="cubic-perovskite"):
    found = {name: np.array([row[name] for row in rows], dtype=np.float32) for name in rows[0]}
    anions = [atomic_number(symbol) for symbol in ([x] * 3 if isinstance(x, str) else x)]
    species = [*CATIONS[prototype], *(anions if prototype == "cubic-perovskite" else anions[:1])]
    return found | {"species": np.array([species] * len(rows), dtype=np.uint8)}


@pytest.mark.parametrize("prototype", CATIONS)
def test_good_sizes_and_low_energies_speak_for_a_perovskite(prototype):
    best, worst, sizes, energies = p_perovskite(
        arrays(GOOD | STABLE, POOR | UNSTABLE, GOOD | UNSTABLE, POOR | STABLE, prototype=prototype), prototype
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
    assert features_of(rows, CUBIC_PEROVSKITE)["tau"].tolist() == [8.0, 8.0]


def test_what_is_written_is_what_is_read():
    for prototype, content in json.loads(to_json(fitted())).items():
        model = fitted()[prototype]
        assert (content["constant"], set(content["knots"])) == (model.constant, set(model.knots))
        assert all(len(model.knots[name]) == len(model.values[name]) for name in model.knots)


@pytest.mark.parametrize("prototype", CATIONS)
def test_a_higher_energy_never_speaks_for_a_perovskite(prototype):
    """In no class of anions, and at no size."""
    energies = np.linspace(-0.05, 0.4, 10)
    for kind in fitted()[prototype].classes:
        for sizes in (GOOD, POOR):
            rows = [sizes | STABLE | {"e_above_hull": energy} for energy in energies]
            found = p_perovskite(arrays(*rows, x=ANIONS[kind], prototype=prototype), prototype)
            assert (np.diff(found) <= 1e-6).all(), kind


@pytest.mark.parametrize(("x", "is_known"), [("O", True), ("Se", True), ("N", False), ("H", False), ("OON", False)])
def test_of_anions_that_it_was_not_fitted_to_it_says_nothing(x, is_known):
    (found,) = p_perovskite(arrays(GOOD | STABLE, x=x if len(x) < 3 else list(x)), "cubic-perovskite")
    assert np.isfinite(found) == is_known


def test_classes_share_a_mixed_site():
    features = features_of(arrays(GOOD | UNSTABLE, x=["O", "O", "F"]), CUBIC_PEROVSKITE)
    assert (features["oxide"][0], features["fluoride"][0], features["halide"][0]) == pytest.approx((2 / 3, 1 / 3, 0))
    assert features["e_above_hull, oxide"][0] == pytest.approx(2 / 3)


def test_similar_compositions_speak_for_what_they_are():
    species = np.array([[56, 22, 8, 8, 8], [38, 22, 8, 8, 8], [56, 22, 16, 16, 16]], dtype=np.uint8)  # BaTiO3, SrTiO3
    places = places_of(species, np.array([1.06, 1.0, 0.95]), np.array([0.43, 0.43, 0.33]), CUBIC_PEROVSKITE)
    alike = likeness(places, places)
    np.testing.assert_allclose(alike, alike.T)
    np.testing.assert_allclose(alike.diagonal(), 1)
    assert 1 > alike[0, 1] > alike[0, 2]
    similar = ((*species[0].tolist(), 1.06, 0.43),)
    model = Additive(0.0, {}, {}, similar=similar, weights=(3.0,), prototype=CUBIC_PEROVSKITE.name)
    found = model.probability({"place": places})
    assert found == pytest.approx(1 / (1 + np.exp(-3 * alike[:, 0])), abs=1e-6)


def test_b_cations_have_no_order():
    first, second = (
        places_of(np.array([[56, *b, 8]], dtype=np.uint8), np.ones(1), np.ones(1), DOUBLE_PEROVSKITE)
        for b in ((21, 73), (73, 21))
    )
    np.testing.assert_array_equal(first, second)


def test_a_row_has_the_same_bits_whatever_is_beside_it():
    rng = np.random.default_rng(0)
    rows = [
        {"tau": 4, "tolerance_factor": t, "octahedral_factor": m} | STABLE
        for t, m in rng.uniform((0.8, 0.3), (1.1, 0.6), (3000, 2))
    ]
    columns = arrays(*rows)
    columns["species"] = np.column_stack([rng.integers(11, 84, (3000, 2)), np.full((3000, 3), 8)]).astype(np.uint8)
    whole = p_perovskite(columns, "cubic-perovskite")
    part = p_perovskite({name: values[700:1731] for name, values in columns.items()}, "cubic-perovskite")
    np.testing.assert_array_equal(whole[700:1731], part)
