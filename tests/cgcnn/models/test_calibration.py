import numpy as np
import pytest

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.calibration import calibrated, coverage, fit_calibration, fit_odds, interval_score, with_odds
from cgcnn.models.card import Odds
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
