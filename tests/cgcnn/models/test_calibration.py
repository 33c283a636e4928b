import numpy as np
import pytest

from cgcnn.models.calibration import calibrated, coverage, fit_calibration, interval_score


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
