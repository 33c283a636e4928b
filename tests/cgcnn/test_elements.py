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


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ("Calcium", "Write the symbol: Ca."),
        ("CAESIUM", "Write the symbol: Cs."),
        ("calcim", "Did you mean Ca (calcium)?"),
        ("ca", "Write the symbol: Ca."),
        ("CA", "Write the symbol: Ca."),
        ("Ca2+", "Write the symbol: Ca."),
        ("Ca\u00b2\u207a", "Write the symbol: Ca."),
        ("Fe(III)", "Write the symbol: Fe."),
        ("O-2", "Write the symbol: O."),
        ("Cl2", "Write the symbol: Cl."),
        ("20", "Write the symbol: Ca."),
        ("chloride", "Write the symbol: Cl."),
        ("halides", "Name the elements: F,Cl,Br,I."),
        ("Halogen", "Name the elements: F,Cl,Br,I."),
        ("oxides", "Name the elements: O."),
        ("alkali metals", "Name the elements: Li,Na,K,Rb,Cs."),
        ("alkaline earth metals", "Name the elements: Be,Mg,Ca,Sr,Ba."),
        ("noble gases", "Name the elements: He,Ne,Ar,Kr,Xe,Rn."),
        ("MA", "Organic cations are not supported yet: each site takes one element."),
        ("FA+", "Organic cations are not supported yet: each site takes one element."),
        ("CH3NH3", "Organic cations are not supported yet: each site takes one element."),
        ("methylammonium", "Organic cations are not supported yet: each site takes one element."),
        ("CaO", "A site takes one element, not a formula: write Ca, or several with commas: Ca,O."),
        ("Ca;Sr", "Separate several by commas: Ca,Sr."),
        ("Ca Sr", "Separate several by commas: Ca,Sr."),
        ("NaN", "It marks a missing value; write a symbol such as Ca."),
        ("\u0421\u0430", "'\u0421' is no Latin letter (U+0421)."),
        ("Lr", "Heavier elements are not supported."),
        ("Xx", "Did you mean Xe?"),
        ("vacancy", "Use symbols such as Ca or Ti."),
    ],
)
def test_what_is_no_symbol_is_refused_with_a_remedy_that_fits(given, remedy):
    with pytest.raises(UserError) as caught:
        atomic_number(given)
    assert str(caught.value).endswith(f"(Z = 100). {remedy}")
