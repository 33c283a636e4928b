import numpy as np
import pytest

from cgcnn.models.calibration import coverage
from cgcnn.models.reliability import fit_deviation, held_out, reliability


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
