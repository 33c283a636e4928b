import numpy as np
import pytest

from cgcnn.data import labels
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE

CRYSTAL = {
    "A": "Ba",
    "B": "Ti",
    "X": ["N", "O", "O"],
    "cell": [4.0, 4.0, 4.2, 90.0, 90.0, 90.0],
    "species": ["Ba", "Ti", "N", "O", "O"],
    "frac": [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    "energy": 1.5,
}


def test_missing_labels_are_nan() -> None:
    table = labels.targets([CRYSTAL, {**CRYSTAL, "energy": None}, {}], ["energy", "a"], [CUBIC_PEROVSKITE] * 3)
    np.testing.assert_allclose(table[0], [1.5, (4 * 4 * 4.2) ** (1 / 3)], rtol=1e-6)
    assert np.isnan(table).tolist() == [[False, False], [True, False], [True, True]]


def test_label_that_no_record_has_is_refused() -> None:
    with pytest.raises(UserError, match="'gap'"):
        labels.targets([CRYSTAL], ["gap"])


def test_label_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="energy is 'much', not a number"):
        labels.targets([{**CRYSTAL, "energy": "much"}], ["energy"])


def test_lattice_constant_keeps_the_volume_of_a_supercell() -> None:
    doubled = {"cell": [4.0, 4.0, 8.0, 90.0, 90.0, 90.0], "species": CRYSTAL["species"] * 2}
    assert labels.lattice_constant(doubled, CUBIC_PEROVSKITE) == pytest.approx(4.0)


@pytest.mark.parametrize("shift", [[0, 0, 0], [0.4, -0.7, 0.1]])
@pytest.mark.parametrize("order", [[2, 3, 4], [4, 2, 3]])
def test_displacement_forgets_the_origin_and_the_order_of_anions(shift: list[float], order: list[int]) -> None:
    cubic = {**CRYSTAL, "cell": [4.0, 4.0, 4.0, 90.0, 90.0, 90.0]}
    frac = np.array(CRYSTAL["frac"])[[0, 1, *order]] + shift
    assert labels.displacement({**cubic, "frac": frac.tolist()}, CUBIC_PEROVSKITE) == pytest.approx(0, abs=1e-6)
    frac[1, 0] += 0.1  # 0.4 Å along x; the other four then sit 0.08 Å off the mean, it 0.32 Å
    moved = labels.displacement({**cubic, "frac": frac.tolist()}, CUBIC_PEROVSKITE)
    assert moved == pytest.approx(np.sqrt((0.32**2 + 4 * 0.08**2) / 5), abs=5e-3)


@pytest.mark.parametrize("missing", ["cell", "frac"])
def test_no_displacement_without_a_crystal(missing: str) -> None:
    record = {key: value for key, value in CRYSTAL.items() if key != missing}
    assert labels.displacement(record, CUBIC_PEROVSKITE) is None


def test_labels_that_others_give() -> None:
    record = {"bulk_modulus": 100, "shear_modulus": 60.0, "band_gap": 0.0}
    names = ["log10_bulk_modulus", "log10_shear_modulus", "poisson_ratio", "metal"]
    semiconductor = {"band_gap": 0.3, "shear_modulus": -1.0}
    table = labels.targets([record, semiconductor], names, binary=["metal"])
    np.testing.assert_allclose(table[0], [2, np.log10(60), 0.25, 1], rtol=1e-6)  # 180 / 720
    assert np.isnan(table[1]).tolist() == [True, True, True, False]
    assert table[1, 3] == 0


def test_a_label_that_is_there_is_not_worked_out() -> None:
    record = {"bulk_modulus": 100, "shear_modulus": 60.0, "poisson_ratio": 0.3}
    assert labels.targets([record], ["poisson_ratio"])[0, 0] == pytest.approx(0.3)


@pytest.mark.parametrize("label", ["inf", "-inf", "1e39", 1e39, 1e16, float("inf"), 10**400])
def test_labels_that_single_precision_cannot_train_on_are_refused(label):
    with pytest.raises(UserError, match=r"record second: gap (is|.*not a number)"):
        labels.targets([{"id": "first", "gap": 1}, {"id": "second", "gap": label}], ["gap"])


def test_a_label_that_others_give_is_refused_where_these_are_no_numbers():
    with pytest.raises(UserError, match="record first: metal is derived from labels of which one is, not a number"):
        labels.targets([{"id": "first", "band_gap": "none"}], ["metal"])
