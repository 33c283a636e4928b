import math
import re
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.candidates.space import parse_elements, perovskites
from screening.chemistry.descriptors import columns, tau, tolerance_factor
from screening.chemistry.ions import NO_STATE, tables
from screening.chemistry.radii import UNKNOWN, ionic_radius, shannon

quick = settings(deadline=None, derandomize=True, max_examples=40)


def row(formula):
    """Species of an ABX3 formula such as BaTaO2N."""
    parts = re.findall(r"([A-Z][a-z]?)(\d?)", formula)
    return [z for symbol, times in parts for z in parse_elements(symbol) * int(times or 1)]


def described(*formulas):
    return columns(np.array([row(formula) for formula in formulas], dtype=np.uint8))


def test_tabulated_radii_are_shannons():
    assert ionic_radius(20, 2, 12) == (1.34, False)
    assert ionic_radius(22, 4, 6) == (0.605, False)
    assert ionic_radius(8, -2, 6) == (1.40, False)


def test_of_two_spin_states_the_high_one_is_taken():
    assert ionic_radius(26, 3, 6) == (0.645, False)


def test_missing_coordinations_are_extrapolated_and_flagged():
    radius, imputed = ionic_radius(39, 3, 12)  # Y3+ is known up to nine neighbours, 1.075 Å
    assert imputed
    assert radius == pytest.approx(1.075 + 3 * 0.045)
    assert ionic_radius(7, -3, 6).angstrom == pytest.approx(1.48)
    assert ionic_radius(25, 5, 6).angstrom == pytest.approx(0.33 + 2 * 0.075)


def test_extrapolation_to_twelve_neighbours_is_good_where_it_can_be_checked():
    errors = []
    for z in range(1, 101):
        for charge, radii in shannon(z).items():
            below = max((n for n in radii if 6 <= n <= 9), default=None)
            if charge > 0 and 12 in radii and below:
                errors.append(radii[below] + 0.045 * (12 - below) - radii[12])
    assert len(errors) == 18
    assert np.abs(errors).mean() < 0.03


def test_missing_charges_are_extrapolated_and_flagged():
    radius, imputed = ionic_radius(50, 2, 6)  # Sn2+, from Sn4+ with 0.69 Å
    assert imputed
    assert radius == pytest.approx(0.85)


@pytest.mark.parametrize(("z", "charge"), [(2, 1), (1, 1), (99, 3), (26, -2)])
def test_ions_with_nothing_to_go_by_have_no_radius(z, charge):
    assert ionic_radius(z, charge, 6) is UNKNOWN


def test_common_oxidation_states_come_first():
    ions = tables()
    assert ions.charge.shape == ions.reluctance.shape == ions.radius["A"].shape
    assert ions.charge[22, :3].tolist() == [4, 2, 3]
    assert ions.reluctance[22, :4].tolist() == [0, 1, 1, NO_STATE]
    assert 4 in ions.charge[26]  # Fe4+, in Shannon's table only
    assert ions.anion_charge[[7, 8, 9, 17]].tolist() == [-3, -2, -1, -1]


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


@pytest.mark.parametrize("formula", ["HeTiO3", "BaLiH3", "EsAlO3"])
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
        ("Sr,Fe,Mo,O", 1.44, (0.78 + 0.59) / 2, 1.40, 2),
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
    assert doubles("Ba,Ni,Te,O", "Ba,Es,Te,O", "Y,Mg,Ti,O")["radii_imputed"].tolist() == [False, True, True]


@quick
@given(st.tuples(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.sampled_from([7, 8, 9, 16, 17, 53])))
def test_double_perovskites_balance_if_some_states_do_and_b_is_as_good_as_b_prime(quadruple):
    ions = tables()
    a, b, c, x = quadruple
    states = ([int(q) for q in ions.charge[z] if q] for z in (a, b, c))
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
    }
    assert all(values.shape == (0,) for values in columns(np.empty((0, 5), dtype=np.uint8)).values())


@quick
@given(st.integers(0, 10**9), st.integers(1, 70))
def test_a_row_does_not_depend_on_the_rows_beside_it(start, n):
    space = perovskites(range(1, 101), range(1, 101), range(1, 101), 3)
    species = space.decode(start, start + 100)
    whole, part = columns(species), columns(species[100 - n :])
    for name, values in whole.items():
        assert values[100 - n :].tobytes() == part[name].tobytes()


@pytest.mark.parametrize("prototype", [CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE])
def test_a_block_of_65536_is_described_in_under_a_quarter_second(prototype):
    species = perovskites(range(1, 101), range(1, 101), (7, 8, 9, 16), 3).decode(0, 65_536)
    species = species[:, : len(prototype.sites)]
    columns(species[:10], prototype)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        columns(species, prototype)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.25
