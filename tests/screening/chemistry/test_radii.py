import math

import numpy as np
import pytest

from screening.chemistry.radii import UNKNOWN, ionic_radius, nearest_radius, shannon


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


def extrapolation_errors(neighbours):
    """Error in Å of each tabulated cation radius, where it is worked out without it from other coordinations."""
    errors = []
    for z in range(1, 101):
        for charge, radii in list(shannon(z).items()):
            if charge > 0 and neighbours in radii and len(radii) > 1:
                known = radii.pop(neighbours)
                try:
                    errors.append(ionic_radius(z, charge, neighbours).angstrom - known)
                finally:
                    radii[neighbours] = known
    return np.abs(errors)


def test_extrapolated_radii_are_good_where_that_can_be_checked():
    at_twelve, at_six = extrapolation_errors(12), extrapolation_errors(6)
    assert (len(at_twelve), len(at_six)) == (18, 105)
    assert at_twelve.mean() < 0.025
    assert at_six.mean() < 0.03


def test_ions_that_shannon_lacks_have_learned_radii():
    six, twelve = ionic_radius(50, 2, 6), ionic_radius(50, 2, 12)  # Sn2+
    assert six == pytest.approx((0.999, True))
    assert twelve == pytest.approx((1.264 + 2 * 0.045, True))


def test_charges_that_nobody_has_are_extrapolated_and_flagged():
    radius, imputed = ionic_radius(23, 1, 6)  # V+, from V2+ with 0.79 Å
    assert imputed
    assert radius == pytest.approx(0.79 + 0.08)


@pytest.mark.parametrize(("z", "charge"), [(2, 1), (1, 1), (99, 3), (26, -2)])
def test_ions_with_nothing_to_go_by_have_no_radius(z, charge):
    assert ionic_radius(z, charge, 6) is UNKNOWN


def test_bartels_radii_are_those_of_the_nearest_coordination():
    assert nearest_radius(39, 3, 12) == 1.075
    assert nearest_radius(22, 4, 6) == 0.605
    assert nearest_radius(7, -3, 6) == 1.46
    assert math.isnan(nearest_radius(50, 2, 6))
