import math
import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.graphs.prototype import DOUBLE_PEROVSKITE
from screening.candidates.space import parse_elements, perovskites
from screening.chemistry.descriptors import columns, tau, tolerance_factor
from screening.chemistry.ions import tables
from screening.chemistry.oxidation import StateSet, mixed_reluctances, reluctances

quick = settings(deadline=None, derandomize=True, max_examples=40)


def row(formula):
    """Species of an ABX3 formula such as BaTaO2N."""
    parts = re.findall(r"([A-Z][a-z]?)(\d?)", formula)
    return [z for symbol, times in parts for z in parse_elements(symbol) * int(times or 1)]


def described(*formulas):
    return columns(np.array([row(formula) for formula in formulas], dtype=np.uint8))


@pytest.mark.parametrize(
    ("formula", "t", "mu", "bartel"),
    [
        ("CaTiO3", 0.966, 0.432, 3.885),
        ("SrTiO3", 1.002, 0.432, 3.804),
        ("BaTiO3", 1.062, 0.432, 3.752),
        ("CsPbI3", 0.851, 0.541, 4.303),
        ("LaAlO3", 1.009, 0.382, 1.791),
        ("NaMgF3", 0.938, 0.541, 3.782),
    ],
)
def test_factors_of_known_perovskites(formula, t, mu, bartel):
    found = described(formula)
    assert found["tolerance_factor"] == pytest.approx([t], abs=5e-4)
    assert found["octahedral_factor"] == pytest.approx([mu], abs=5e-4)
    assert found["tau"] == pytest.approx([bartel], abs=5e-4)
    assert found["charge_balanced"].tolist() == [True]
    assert found["radii_imputed"].tolist() == [False]


def test_tau_follows_its_definition():
    r_a, r_b, r_x, n_a = 1.44, 0.605, 1.40, 2
    expected = r_x / r_b - n_a * (n_a - (r_a / r_b) / math.log(r_a / r_b))
    assert tau(*(np.array([v]) for v in (r_a, r_b, r_x, n_a)))[0] == pytest.approx(expected)


def test_tau_is_undefined_unless_a_is_larger_than_b():
    assert np.isnan(tau(*(np.array([v]) for v in (1.0, 1.0, 1.4, 2)))).all()
    found = described("AlLaO3")
    assert np.isnan(found["tau"]).all()
    assert np.isfinite(found["tolerance_factor"]).all()


def test_mixed_anions_count_with_their_mean_radius():
    r_x = (1.40 + 1.40 + 1.48) / 3
    (t,) = described("BaTaO2N")["tolerance_factor"]
    assert t == pytest.approx(tolerance_factor(1.61, 0.64, r_x), abs=1e-6)


def test_charges_balance_with_common_states_first():
    found = described("MnTiO3", "TiMnO3", "CeFeO3", "EuTaO2N", "SrFeO3", "LaTiO2N")
    assert found["charge_balanced"].all()
    # Mn2+Ti4+O3: t of Mn2+ (0.96 at eight neighbours) and Ti4+ (0.605)
    assert found["tolerance_factor"][0] == pytest.approx((0.96 + 4 * 0.045 + 1.4) / math.sqrt(2) / 2.005, abs=1e-6)


@pytest.mark.parametrize("formula", ["BaBaO3", "SrLaO3", "NaTiO3", "CaTiO2N", "CaOO3", "HeTiO3"])
def test_what_cannot_balance_is_said_to(formula):
    assert described(formula)["charge_balanced"].tolist() == [False]


def test_geometry_is_described_where_charges_do_not_balance():
    found = described("CaTiO2N")  # Ca2+ Ti4+
    assert found["tolerance_factor"] == pytest.approx([(1.34 + 4.28 / 3) / math.sqrt(2) / (0.605 + 4.28 / 3)], abs=1e-6)


@pytest.mark.parametrize("formula", ["HeTiO3", "BaLiB3"])
def test_unknown_radii_give_nan_and_are_flagged(formula):
    found = described(formula)
    assert np.isnan(found["tolerance_factor"]).all()
    assert np.isnan(found["tau"]).all()
    assert found["radii_imputed"].all()


def doubles(*rows):
    """Columns of double perovskites from symbols of A, B, B' and X."""
    species = [parse_elements(text) for text in rows]
    return columns(np.array(species, dtype=np.uint8), DOUBLE_PEROVSKITE)


@pytest.mark.parametrize(
    ("elements", "a", "b", "x", "charge"),
    [
        ("Cs,Ag,Bi,Br", 1.88, (1.15 + 1.03) / 2, 1.96, 1),
        ("K,Na,Al,F", 1.64, (1.02 + 0.535) / 2, 1.33, 1),
        ("Ba,Mg,W,O", 1.61, (0.72 + 0.60) / 2, 1.40, 2),
        ("Sr,Fe,Mo,O", 1.44, (0.645 + 0.61) / 2, 1.40, 2),
    ],
)
def test_factors_of_double_perovskites_take_the_mean_radius_of_both_b(elements, a, b, x, charge):
    found = doubles(elements)
    r_a, r_b, r_x = (np.array([radius]) for radius in (a, b, x))
    assert found["tolerance_factor"] == pytest.approx(tolerance_factor(r_a, r_b, r_x), abs=1e-6)
    assert found["octahedral_factor"] == pytest.approx(r_b / r_x, abs=1e-6)
    assert found["tau"] == pytest.approx(tau(r_a, r_b, r_x, np.array([charge])), abs=1e-5)
    assert found["charge_balanced"].tolist() == [True]
    assert found["radii_imputed"].tolist() == [False]


def test_double_perovskites_with_one_small_charge_on_b_balance():
    assert doubles("Ba,Na,Os,O", "La,Li,Sb,O", "Cs,Na,In,Cl")["charge_balanced"].all()
    assert not doubles("Cs,Na,K,Cl", "Ba,Sr,Ca,O", "Ba,Mg,W,Ti")["charge_balanced"].any()


def test_a_radius_imputed_on_any_site_is_flagged():
    assert doubles("Ba,Ni,Te,O", "Ba,Sn,Te,O", "Y,Mg,Ti,O")["radii_imputed"].tolist() == [False, False, True]


@quick
@given(st.tuples(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.sampled_from([7, 8, 9, 16, 17, 53])))
def test_double_perovskites_balance_if_some_states_do_and_b_is_as_good_as_b_prime(quadruple):
    ions = tables()
    a, b, c, x = quadruple
    states = (np.flatnonzero(np.isfinite(reluctances((x,))[z])).tolist() for z in (a, b, c))
    sums = (2 * q_a + q_b + q_c for q_a, q_b, q_c in product(*states))
    species = [[a, b, c, x], [a, c, b, x]]
    found = columns(np.array(species, dtype=np.uint8), DOUBLE_PEROVSKITE)
    assert found["charge_balanced"].tolist() == [(-6 * int(ions.anion_charge[x])) in set(sums)] * 2
    for name in ("radii_imputed", "charge_balanced"):
        assert found[name][0] == found[name][1]


def test_columns_have_one_value_a_row_and_their_types():
    found = described("CaTiO3", "LaTiO2N")
    kinds = {name: (values.dtype.name, values.shape) for name, values in found.items()}
    assert kinds == {
        "tolerance_factor": ("float32", (2,)),
        "octahedral_factor": ("float32", (2,)),
        "tau": ("float32", (2,)),
        "charge_balanced": ("bool", (2,)),
        "radii_imputed": ("bool", (2,)),
        "charges": ("int8", (2, 5)),
        "state_reluctance": ("float32", (2,)),
        "redox": ("float32", (2,)),
        "hhi": ("float32", (2,)),
        "electronegativity_gap": ("float32", (2,)),
        "sites_plausible": ("bool", (2,)),
        "mixed_anions": ("bool", (2,)),
    }
    assert {len(values) for values in columns(np.empty((0, 5), dtype=np.uint8)).values()} == {0}


@pytest.mark.slow
@quick
@given(st.integers(0, 10**9), st.integers(1, 70))
def test_a_row_does_not_depend_on_the_rows_beside_it(start, n):
    space = perovskites(range(1, 101), range(1, 101), range(1, 101), 3)
    species = space.decode(start, start + 100)
    whole, part = columns(species), columns(species[100 - n :])
    for name, values in whole.items():
        assert values[100 - n :].tobytes() == part[name].tobytes()


def test_the_most_unusual_ion_and_the_margin_are_told():
    found = described("SrFeO3", "NaTiO3")
    assert found["state_reluctance"][0] == pytest.approx(reluctances((8,))[26, 4], abs=1e-6)
    assert found["redox"][0] == pytest.approx(1.23 - 1.50, abs=1e-6)
    assert np.isnan([found["state_reluctance"][1], found["redox"][1]]).all()
    assert found["charges"].tolist() == [[2, 4, -2, -2, -2], [0] * 5]


def test_mixed_valences_are_as_unusual_as_both_ions_and_more():
    single = reluctances((8,), StateSet("all"))
    assert described("BaBiO3")["state_reluctance"][0] == pytest.approx(mixed_reluctances(single)[83, 4], abs=1e-6)


def test_a_is_larger_than_b_on_plausible_sites():
    found = described("LaFeO3", "FeLaO3", "FeFeO3", "LaLaO3", "LaYbO3", "XeTiO3", "NaTiO3")
    assert found["sites_plausible"].tolist() == [True, False, False, False, True, False, False]
    assert doubles("Ba,Ca,W,O", "Ca,Ba,W,O")["sites_plausible"].tolist() == [True, False]
    of_barium = columns(np.array([[56, 56, 74, 8]], dtype=np.uint8), DOUBLE_PEROVSKITE)
    assert of_barium["charge_balanced"].tolist() == [True]
    assert of_barium["sites_plausible"].tolist() == [False]


def test_mixed_anions_are_told():
    assert described("CaTiO3", "LaTiO2N", "BaTaON2")["mixed_anions"].tolist() == [False, True, True]


def test_market_concentration_is_weighted_by_mass():
    sr, ti, o = 87.62, 47.867, 15.999
    expected = (sr * 4200 + ti * 1100 + 3 * o * 500) / (sr + ti + 3 * o)
    assert described("SrTiO3")["hhi"][0] == pytest.approx(expected, abs=0.1)


def test_the_electronegativity_gap_is_that_of_the_closest_ions():
    assert described("CsAuCl3", "CaTiO2N")["electronegativity_gap"] == pytest.approx([3.16 - 2.54, 3.04 - 1.54])


def test_tau_has_the_published_values_for_radii_of_the_nearest_coordination():
    found = described("GdFeO3", "YAlO3", "BiFeO3")  # A known up to nine, nine and eight neighbours
    radii = [(1.107, 0.645), (1.075, 0.535), (1.17, 0.645)]
    expected = [1.40 / b - 3 * (3 - (a / b) / math.log(a / b)) for a, b in radii]
    assert found["tau"] == pytest.approx(expected, abs=1e-4)
