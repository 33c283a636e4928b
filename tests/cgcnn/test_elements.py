import numpy as np
import pytest
from pymatgen.core import Element

from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number, element_features
from cgcnn.errors import UserError


def test_features_are_distinct_for_every_element() -> None:
    features = element_features()
    assert len(np.unique(features[1:], axis=0)) == MAX_Z
    distance = np.linalg.norm(features[1:, None] - features[None, 1:], axis=2) + 9 * np.eye(MAX_Z)
    assert distance.min() > 0.1


def test_features_are_finite_and_scaled() -> None:
    features = element_features()
    assert features.shape[0] == MAX_Z + 1
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 10
    assert not features[0].any()


def test_symbols_are_those_of_pymatgen() -> None:
    assert [Element.from_Z(z).symbol for z in range(1, MAX_Z + 1)] == list(SYMBOLS[1:])
    assert atomic_number("Ti") == 22


@pytest.mark.parametrize("symbol", ["Xx", "", "ti", "Lr"])
def test_unknown_symbol_is_named(symbol: str) -> None:
    with pytest.raises(UserError, match=repr(symbol)):
        atomic_number(symbol)
