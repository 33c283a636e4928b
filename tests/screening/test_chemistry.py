import math
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.chemistry import Sites, assign_sites, columns, tau, tolerance_factor
from screening.ions import NO_STATE, tables
from screening.radii import UNKNOWN, ionic_radius, shannon
from screening.space import parse_elements, perovskites, symbols

quick = settings(deadline=None, derandomize=True, max_examples=40)

KNOWN_PEROVSKITES = (
    "CaTiO3", "SrTiO3", "BaTiO3", "PbTiO3", "LaAlO3", "KTaO3", "KNbO3", "NaTaO3", "LaFeO3", "YAlO3", "GdFeO3",
    "CsPbI3", "CsSnBr3", "CsPbCl3", "RbCaF3", "KMgF3", "BaZrO3", "BaCeO3", "BiFeO3", "BaTaO2N", "SrTaO2N", "LaTiO2N",
    "CaTaO2N", "KMnF3", "KIO3", "LaMnO3", "SrRuO3", "SrFeO3", "LaNiO3", "NaOsO3", "EuTiO3", "BaZrS3", "CaZrS3",
    "ScAlO3", "NaMgF3", "LaCrO3", "LuFeO3", "SrVO3", "BaSnO3", "BaPbO3", "LaYbO3", "CsGeCl3", "CsCdBr3", "NaNbO3",
    "AgNbO3", "AgTaO3", "LaCoO3", "CaMnO3", "SrIrO3", "TlMnF3",
)  # fmt: skip


def numbers(text):
    """Atomic numbers of a formula or of symbols with commas, each once."""
    return parse_elements(re.findall("[A-Z][a-z]?", text))


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


def test_several_b_sites_count_with_their_mean_radius():
    double = np.array([[56, 41, 39, 8, 8, 8]], dtype=np.uint8)  # a cell of one Ba, Nb and Y, to try roles with two B
    found = columns(double, roles=("A", "B", "B", "X", "X", "X"))
    assert found["octahedral_factor"] == pytest.approx([(0.64 + 0.90) / 2 / 1.40])


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


def test_a_block_of_65536_is_described_in_under_a_quarter_second():
    species = perovskites(range(1, 101), range(1, 101), (7, 8, 9, 16), 3).decode(0, 65_536)
    columns(species[:10])
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        columns(species)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.25


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
    with pytest.raises(UserError, match=rf"{elements}: no element fits site {site}.*--a, --b and --x"):
        assign_sites(numbers(elements))


def test_sites_of_all_elements_are_found_quickly():
    began = time.perf_counter()
    sites = assign_sites(range(1, 101))
    assert time.perf_counter() - began < 2
    assert symbols(sites.X) == ("N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I")
    assert set(sites.A) | set(sites.B) | set(sites.X) | set(sites.unplaced) == set(range(1, 101))
