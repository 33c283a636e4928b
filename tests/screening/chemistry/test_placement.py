import re

import pytest

from cgcnn.errors import UserError
from cgcnn.graphs.prototype import DOUBLE_PEROVSKITE
from screening.candidates.space import parse_elements, symbols
from screening.chemistry.placement import Sites, assign_sites

KNOWN_PEROVSKITES = (
    "CaTiO3", "SrTiO3", "BaTiO3", "PbTiO3", "LaAlO3", "KTaO3", "KNbO3", "NaTaO3", "LaFeO3", "YAlO3", "GdFeO3",
    "CsPbI3", "CsSnBr3", "CsPbCl3", "RbCaF3", "KMgF3", "BaZrO3", "BaCeO3", "BiFeO3", "BaTaO2N", "SrTaO2N", "LaTiO2N",
    "CaTaO2N", "KMnF3", "KIO3", "LaMnO3", "SrRuO3", "SrFeO3", "LaNiO3", "NaOsO3", "EuTiO3", "BaZrS3", "CaZrS3",
    "ScAlO3", "NaMgF3", "LaCrO3", "LuFeO3", "SrVO3", "BaSnO3", "BaPbO3", "LaYbO3", "CsGeCl3", "CsCdBr3", "NaNbO3",
    "AgNbO3", "AgTaO3", "LaCoO3", "CaMnO3", "SrIrO3", "TlMnF3",
)  # fmt: skip
KNOWN_DOUBLES = (
    "Cs2AgBiBr6", "Cs2AgBiCl6", "Cs2NaBiCl6", "Cs2AgInCl6", "Cs2LiYCl6", "Cs2LiLaBr6", "Cs2KBiCl6", "Cs2AgCrCl6",
    "Cs2AgFeCl6", "Cs2CuSbCl6", "Cs2AgTlBr6", "K2NaAlF6", "Rb2NaHoF6", "Rb2KScF6", "Sr2FeMoO6", "Sr2CrReO6",
    "Ba2CaWO6", "Ba2YNbO6", "Ba2NaOsO6", "Ba2NaIO6", "Ba2CoTeO6", "Ba2BiSbO6", "Ba2LaTaO6", "Ca2FeMoO6", "Pb2ScTaO6",
    "La2NiMnO6", "La2MgTiO6", "La2LiSbO6", "Lu2NiMnO6", "Y2NiMnO6",
)  # fmt: skip


def numbers(text):
    """Atomic numbers of a formula or of symbols with commas, each once."""
    return parse_elements(re.findall("[A-Z][a-z]?", text))


@pytest.mark.parametrize(
    ("elements", "a", "b", "x"),
    [
        ("Ca,Sr,Ba,Ti,Zr,Hf,O", "Ca,Sr,Ba", "Ti,Zr,Hf", "O"),
        ("Ca,Sr,Ba,La,Ti,Zr,Hf,Nb,Ta,O,N", "Ca,Sr,Ba,La", "Ti,Zr,Hf,Nb,Ta", "O,N"),
        ("Ca,Sr,Ba,Ti,Zr,Hf,O,F", "Ca,Sr,Ba", "Ti,Zr,Hf", "O,F"),
        ("Cs,Rb,K,Pb,Sn,Ge,Cl,Br,I", "Cs,Rb,K", "Pb,Sn,Ge", "Cl,Br,I"),
        ("La,Ca,Al,Cr,Fe,Ga,Sc,O", "La,Ca,Sc", "Al,Cr,Fe,Ga,Sc", "O"),
    ],
)
def test_elements_find_their_sites(elements, a, b, x):
    sites = assign_sites(numbers(elements))
    assert tuple(",".join(symbols(on)) for on in (sites.A, sites.B, sites.X)) == (a, b, x)
    assert sites.unplaced == ()


@pytest.mark.parametrize("formula", KNOWN_PEROVSKITES)
def test_known_perovskites_find_their_sites(formula):
    a, b, *x = numbers(formula)
    sites = assign_sites((a, b, *x))
    assert sites == Sites(A=(a,), B=(b,), X=tuple(x), unplaced=())


def test_elements_that_fit_nowhere_are_reported():
    assert assign_sites(numbers("Ca,He,Ti,Ne,O")).unplaced == (2, 10)


@pytest.mark.parametrize(("elements", "site"), [("Ca,Ti", "X"), ("Ti,O", "A"), ("Ca,Sr,O", "B"), ("O", "A")])
def test_a_site_without_an_element_is_named_with_the_remedy(elements, site):
    with pytest.raises(UserError, match=rf"{elements}: no element fits site {site}.*`a`, `b` and `x`"):
        assign_sites(numbers(elements))


@pytest.mark.parametrize("formula", KNOWN_DOUBLES)
def test_known_double_perovskites_find_their_sites(formula):
    a, b, b_prime, x = numbers(formula)
    sites = assign_sites((a, b, b_prime, x), DOUBLE_PEROVSKITE)
    assert sites == Sites(A=(a,), B=(b, b_prime), X=(x,), unplaced=())


@pytest.mark.parametrize(
    ("elements", "a", "b", "x"),
    [
        ("Ba,Sr,Ca,Mg,W,Mo,Fe,O", "Ba,Sr,Ca", "Sr,Ca,Mg,W,Mo,Fe", "O"),
        ("Cs,Na,Ag,Bi,Sb,In,Cl,Br", "Cs,Ag", "Na,Ag,Bi,Sb,In", "Cl,Br"),
    ],
)
def test_elements_of_double_perovskites_may_find_two_sites(elements, a, b, x):
    sites = assign_sites(numbers(elements), DOUBLE_PEROVSKITE)
    assert tuple(",".join(symbols(on)) for on in (sites.A, sites.B, sites.X)) == (a, b, x)


@pytest.mark.parametrize(
    ("elements", "missing"),
    [
        ("Cs,Ag,Bi", "no element fits site X"),
        ("Ag,Br", "no two elements fit B and B'"),
        ("W,O", "no element fits site A"),
    ],
)
def test_a_double_perovskite_without_an_element_for_a_site_is_told(elements, missing):
    with pytest.raises(UserError, match=rf"No double perovskite A2BB'X6 .* {elements}: {missing}"):
        assign_sites(numbers(elements), DOUBLE_PEROVSKITE)


def test_every_element_is_placed_or_told_to_have_no_place():
    sites = assign_sites(range(1, 101))
    assert symbols(sites.X) == ("H", "N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I")
    assert set(sites.A) | set(sites.B) | set(sites.X) | set(sites.unplaced) == set(range(1, 101))


@pytest.mark.parametrize(
    ("elements", "a", "b"),
    [
        ("Cs,Ge,I", "Cs", "Ge"), ("Rb,Ge,I", "Rb", "Ge"), ("Th,Ta,N", "Th", "Ta"), ("Mg,Si,O", "Mg", "Si"),
        ("Ca,Si,O", "Ca", "Si"), ("Pb,Ni,O", "Pb", "Ni"), ("Cs,Au,Cl", "Cs", "Au"), ("Mn,V,O", "Mn", "V"),
        ("Sc,Cr,O", "Sc", "Cr"), ("Li,Ni,F", "Li", "Ni"), ("Sr,Li,H", "Sr", "Li"), ("Ba,Li,H", "Ba", "Li"),
        ("K,Mg,H", "K", "Mg"), ("Na,Mg,H", "Na", "Mg"), ("Cs,Dy,Br", "Cs", "Dy"), ("Cs,Tm,Cl", "Cs", "Tm"),
    ],
)  # fmt: skip
def test_perovskites_that_exist_are_placed(elements, a, b):
    sites = assign_sites(numbers(elements))
    assert (symbols(sites.A), symbols(sites.B), sites.unplaced) == ((a,), (b,), ())


def test_wide_limits_place_only_what_has_no_place_otherwise():
    sites = assign_sites(numbers("Ca,Th,Ti,Ge,Si,O"))
    assert symbols(sites.A) == ("Ca",)  # Th4+ has a place on B
    assert symbols(sites.B) == ("Th", "Ti", "Ge", "Si")
