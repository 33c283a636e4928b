"""Standard deviations hold on rows that they were not fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cgcnn.data.composition import composition_keys
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.models.card import Calibration, Odds
from cgcnn.models.deviations import (
    calibrated,
    coverage,
    features,
    fit_calibration,
    fit_deviation,
    fit_odds,
    fit_support,
    held_out,
    interval_score,
    reliability,
    with_odds,
)
from cgcnn.models.domain import Domain, Support, anion_shares
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained
from cgcnn.training.measure import odds


@pytest.mark.parametrize(("scale", "floor"), [(1.0, 0.0), (3.0, 0.0), (2.0, 0.5), (0.0, 1.0)])
def test_errors_of_a_known_size_are_covered_on_other_rows(scale, floor):
    random = np.random.default_rng(0)
    spread = random.gamma(2.0, 0.2, size=20_000).astype(np.float32)
    error = random.normal(size=len(spread)) * calibrated(spread, scale, floor)
    fitted = fit_calibration(error[::2], spread[::2])
    assert coverage(error[1::2], calibrated(spread[1::2], *fitted)) == pytest.approx(0.9, abs=0.012)
    best = interval_score(error[1::2], calibrated(spread[1::2], scale, floor))
    assert interval_score(error[1::2], calibrated(spread[1::2], *fitted)) <= 1.02 * best


def test_members_that_always_agree_get_the_floor_of_their_errors():
    error = np.random.default_rng(1).normal(scale=0.1, size=5000)
    std = calibrated(np.zeros(5000, dtype=np.float32), *fit_calibration(error, np.zeros(5000)))
    assert coverage(error, std) == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(("power", "factor"), [(0.5, 0.7), (1.0, 1.0), (2.0, 3.0)])
def test_odds_that_were_wrong_in_a_known_way_are_put_right(power, factor):
    random = np.random.default_rng(0)
    told = (1 / (1 + np.exp(-random.normal(scale=2, size=40_000)))).astype(np.float32)
    true = with_odds(told, power, factor)
    expected = factor * (told / (1 - told)) ** power
    np.testing.assert_allclose(true, expected / (1 + expected), atol=1e-5)
    found = fit_odds(told, random.uniform(size=len(told)) < true)
    assert found == pytest.approx((power, factor), rel=0.08)


def test_probabilities_that_are_sure_stay_finite():
    found = with_odds(np.array([0, 1, np.nan], dtype=np.float32), 0.5, 0.7)
    assert 0 < found[0] < 0.01
    assert 0.99 < found[1] < 1
    assert np.isnan(found[2])
    power, factor = fit_odds(np.array([0.0, 1.0, 1.0, 0.0]), np.array([False, True, True, False]))  # always right
    assert power >= 1
    assert np.isfinite(factor)


def test_a_card_says_how_odds_are_told_and_a_mixture_stays_as_it_is(compositions):
    targets = ("e", "yes", "no", "p")
    settings = Settings(targets, width=8, layers=1, hidden=6, gaussians=8, binary=("p",), mixture=targets)
    plain = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}, settings)
    said = Odds(target="p", power=0.5, factor=0.8, split="made up")
    model = Model(plain.card.model_copy(update={"odds": (said,)}), plain.members, plain.domain)
    before, after = (m.on("cubic-perovskite").predict(compositions) for m in (plain, model))
    np.testing.assert_array_equal(after["p"][0], with_odds(before["p"][0], 0.5, 0.8))
    for name in targets[:3]:
        np.testing.assert_array_equal(after[name][0], before[name][0])
    assert model.digest != plain.digest


def test_odds_are_fitted_where_there_are_enough_of_both():
    settings = Settings(("e", "p"), width=8, layers=1, hidden=6, gaussians=8, binary=("p",))
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}, settings)
    p = np.random.default_rng(0).uniform(size=4000)
    labels = np.column_stack([p, np.random.default_rng(1).uniform(size=4000) < with_odds(p, 0.5, 1.0)])
    told = odds(model.settings, labels, np.stack([np.column_stack([p, p])] * 2), "these")
    assert [(o.target, o.split) for o in told] == [("p", "these")]
    assert told[0].power == pytest.approx(0.5, abs=0.06)
    labels[60:, 1] = 0
    assert odds(model.settings, labels, np.stack([np.column_stack([p, p])] * 2), "these") == ()


def rows(seed: int, n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors, spreads and shares of two elements, of which the second is worse than the spread says."""
    random = np.random.default_rng(seed)
    spread = random.gamma(2.0, 0.1, n).astype(np.float32)
    second = random.random(n) < 0.3
    error = random.normal(size=n) * spread * np.where(second, 4.0, 1.0)
    return error, spread, np.stack([~second, second], axis=1).astype(np.float32)


def test_every_element_is_covered_on_other_rows() -> None:
    deviation = fit_deviation(*rows(0))
    error, spread, shares = rows(1)
    std = deviation.of(spread, shares)
    for column in shares.T:
        assert coverage(error[column > 0], std[column > 0]) == pytest.approx(0.9, abs=0.02)
    assert np.exp(deviation.log_factors[1] - deviation.log_factors[0]) == pytest.approx(4, rel=0.15)


def test_without_sites_there_are_no_factors() -> None:
    error, spread, _ = rows(0)
    nothing = np.empty((len(error), 0), dtype=np.float32)
    deviation = fit_deviation(error, spread, nothing)
    assert deviation.log_factors.shape == (0,)
    assert reliability(error, held_out(error, spread, nothing), nothing).by_element is None


def test_an_element_with_few_rows_gets_little_of_its_own() -> None:
    error, spread, shares = rows(0, 300)
    shares = np.hstack([shares, np.zeros((300, 1), dtype=np.float32)])
    shares[:3] = [0, 0, 1]
    error[:3] = 100 * spread[:3]
    factors = np.exp(fit_deviation(error, spread, shares).log_factors)
    assert 1 < factors[2] < 1.2


def test_reliability_is_that_of_rows_that_were_not_fitted_on() -> None:
    error, spread, shares = rows(2)
    found = reliability(error, held_out(error, spread, shares), shares)
    assert found.held[0.9] == pytest.approx(0.9, abs=0.02)
    assert found.held[0.5] == pytest.approx(0.5, abs=0.03)
    assert found.by_element is not None
    assert found.by_element == pytest.approx((0.9, 0.9), abs=0.03)


SINGLES = np.array([[56, 22, 8, 8, 8], [56, 40, 8, 8, 8], [38, 22, 8, 8, 7], [38, 22, 9, 9, 9]], dtype=np.uint8)
DOUBLES = np.array([[56, 22, 40, 8], [55, 47, 83, 17]], dtype=np.uint8)
KNOWN = np.sort(np.concatenate([composition_keys(SINGLES), composition_keys(DOUBLES)]))


def test_support_counts_the_rows_with_an_element_on_a_role_with_an_anion() -> None:
    support = Support.of(KNOWN, [CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE])
    assert support.counts[0, 56, 8] == 3  # Ba on A in oxides, singles and doubles
    assert support.counts[0, 38, [7, 8, 9]].tolist() == [1, 1, 1]
    assert support.counts[1, 22, [8, 9]].tolist() == [3, 1]
    assert support.counts[1, 83, 17] == 1
    assert support.counts[2, 8, 7] == 1
    rows = np.array([[56, 22, 8, 8, 8], [38, 40, 8, 8, 7]], dtype=np.uint8)
    assert support.rows(CUBIC_PEROVSKITE, rows).tolist() == [[3, 3, 4], [1, 0, 1]]
    assert support.rows(DOUBLE_PEROVSKITE, DOUBLES).tolist() == [[3, 2, 4], [1, 1, 1]]


def test_what_is_fitted_holds_for_rows_with_and_without_support() -> None:
    """Errors are five times as large where there is no support, and spreads say nothing."""
    rng = np.random.default_rng(0)
    support = rng.choice([0, 300], (2, 4000, 1)) * np.ones(3, dtype=np.int64)
    true = np.where(support[:, :, 0] > 0, 0.02, 0.1)
    error = rng.normal(0, true)
    flat, none = np.full(4000, 0.05), np.zeros((4000, 101))
    described = [features(flat, flat, rows, is_double=np.zeros(4000, dtype=np.bool_)) for rows in support]
    deviation = fit_support(error[0], described[0], none)
    std = deviation.of(described[1], none)
    for kind, least in ((0, 0.9), (300, 0.925)):  # a little wide where errors are near those of rounding
        mine = support[1, :, 0] == kind
        assert coverage(error[1, mine], std[mine]) == pytest.approx(least, abs=0.03)
    assert (deviation.weights[[1, 2, 4, 5, 6]] >= 0).all()


def test_anions_may_have_more_or_less() -> None:
    rng = np.random.default_rng(1)
    anions = np.eye(101)[rng.choice([8, 17], 4000)]
    error = rng.normal(0, np.where(anions[:, 8] > 0, 0.1, 0.02))
    rows = features(np.zeros(4000), np.full(4000, 0.05), np.full((4000, 3), 9), is_double=np.zeros(4000, np.bool_))
    deviation = fit_support(error, rows, anions)
    assert np.exp(deviation.anions[8] - deviation.anions[17]) == pytest.approx(5, rel=0.2)
    assert anion_shares(CUBIC_PEROVSKITE, SINGLES[2:3])[0, [7, 8]] == pytest.approx([1 / 3, 2 / 3])


def test_a_model_widens_where_support_is_missing_and_keeps_that_in_its_file(tmp_path: Path) -> None:
    trained = {"A": ["Ba", "Sr"], "B": ["Ti", "Zr"], "X": ["O", "N", "F"]}
    plain = untrained(CUBIC_PEROVSKITE, trained)
    assert isinstance(plain.domain, Domain)
    domain = replace(plain.domain, known=np.sort(composition_keys(SINGLES)))
    weights = (-4.0, 0.0, 0.0, 0.0, 0.5, 0.25, 0.0)
    how = Calibration(target="e_above_hull", scale=1, floor=0, split="-", support=weights, anions={"F": 1.0})
    card = plain.card.model_copy(update={"calibrations": (how,)})
    model = load(save(Model(card, plain.members, domain), tmp_path / "kept"))
    assert model.digest != plain.digest
    rows = np.array([[56, 22, 8, 8, 8], [56, 22, 7, 7, 7], [38, 22, 9, 9, 9], [56, 22, 9, 9, 9]], dtype=np.uint8)
    found = model.on("cubic-perovskite").predict(rows)
    _, std = found["e_above_hull"]
    missing = np.log(201) - np.log1p(model.support.rows(CUBIC_PEROVSKITE, rows))
    expected = np.exp(-4 + 0.5 * missing[:, 0] + 0.25 * missing[:, 1] + [0, 0, 1, 1]) / 1.6448536
    assert std == pytest.approx(expected, rel=1e-5)
    assert std[0] < std[1]
    assert std[2] < std[3]
    spread = Model(plain.card, plain.members, domain).on("cubic-perovskite").predict(rows)["a"][1]
    assert found["a"][1] == pytest.approx(spread)
