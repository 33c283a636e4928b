"""Deviations grow where few training rows have an element on its site with its anion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cgcnn.data.composition import composition_keys
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.models.calibration import coverage
from cgcnn.models.card import Calibration
from cgcnn.models.domain import Domain
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.models.support import Support, anion_shares, features, fit_support
from cgcnn.testing import untrained

if TYPE_CHECKING:
    from pathlib import Path

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
