"""The lowest polymorph is the label; the cubic one alone only bounds it."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cgcnn.data.samples import Sample, from_record
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.training.curation import BOUND, COMPUTED, Gain, gains, lowest_polymorphs


def _sample(crystal: Structure, name: str, energy: float | None) -> Sample:
    record = {"id": name, "structure": crystal.as_dict(), "e_above_hull": energy, "band_gap": 1.0}
    return from_record(record, 0)


def _cubic(energy: float | None) -> Sample:
    return _sample(CUBIC_PEROVSKITE.structure(np.array([57, 13, 8, 8, 8]), 3.8), "cubic", energy)


def _tilted(energy: float) -> Sample:
    sites = [[0, 0, 0.25], [0, 0, 0], [0.5281, 0, 0.25]]
    crystal = Structure.from_spacegroup("R-3c", Lattice.hexagonal(5.3647, 13.1114), ["La", "Al", "O"], sites)
    return _sample(crystal, "tilted", energy)


def test_tilted_below_cubic() -> None:
    (sample,) = lowest_polymorphs([_cubic(0.1), _tilted(0.02)])
    labels = sample.labels
    assert (labels["A"], labels["B"], labels["X"]) == ("La", "Al", ["O", "O", "O"])
    assert (labels["e_above_hull"], labels["e_above_hull_cubic"], labels[BOUND], labels["tilted"]) == (0.02, 0.1, 0, 1)
    assert labels["a"] == pytest.approx(3.79, abs=0.01)


def test_cubic_below_tilted() -> None:
    (sample,) = lowest_polymorphs([_tilted(0.02), _cubic(0.01)])
    assert (sample.labels["e_above_hull"], sample.labels[BOUND], sample.labels["tilted"]) == (0.01, 0, 0)


def test_cubic_alone_is_a_bound_unless_on_the_hull() -> None:
    (sample,) = lowest_polymorphs([_cubic(0.1)])
    assert (sample.labels[BOUND], sample.labels["tilted"]) == (1, None)
    (sample,) = lowest_polymorphs([_cubic(0.0)])
    assert (sample.labels[BOUND], sample.labels["tilted"]) == (0, 0)


def test_rock_salt_order_has_two_sites_for_b() -> None:
    double = DOUBLE_PEROVSKITE.structure(np.array([55, 47, 83, 17]), 5.4)
    (sample,) = lowest_polymorphs([_sample(double, "double", 0.0)])
    assert [sample.labels[name] for name in ("A", "B", "B'", "X")] == ["Cs", "Ag", "Bi", "Cl"]


def test_others_and_those_without_energy_are_left_out() -> None:
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert lowest_polymorphs([_sample(rock_salt, "NaCl", 0.0), _cubic(None)]) == []


def _start(difference: object, became: str, b: str = "Al", second: str | None = None) -> Sample:
    row = {"A": "La", "B": b, "B'": second, "X": "O", "difference": difference, "became": became}
    return Sample("0", row, "record", "{}")


@pytest.mark.parametrize(
    ("starts", "energy", "bound", "tilted"),
    [
        ([(-0.06, "single tilted a-a-a-"), (-0.02, "single tilted a0a0c-")], 0.04, 0, 1),
        ([(-0.06, "single distorted a0a0a0")], 0.04, 0, 0),
        ([(-0.5, ""), (-0.03, "single tilted a-a-a-")], 0.07, 0, 1),  # what became no perovskite says nothing
        ([(-0.5, "")], 0.1, 1, None),
        ([(-0.3, "single tilted a-a-a-")], 0.0, 0, 1),  # nothing lies below the hull
        ([(0.01, "single tilted a-a-a-")], 0.1, 0, 0),  # the cubic crystal is the lowest
        ([(-0.0015, "single tilted a-a-a-")], 0.0985, 0, None),  # too little to tell
    ],
)
def test_what_the_cubic_crystal_gains_by_tilting(
    starts: list[tuple[float, str]], energy: float, bound: int, tilted: int | None
) -> None:
    crystal = _cubic(0.1)
    crystal.labels["formation_energy"] = -3.0
    (sample,) = lowest_polymorphs([crystal], gains([_start(*start) for start in starts]))
    found = sample.labels
    assert found["e_above_hull"] == pytest.approx(energy)
    assert (found[BOUND], found["tilted"], found["e_above_hull_cubic"]) == (bound, tilted, 0.1)
    assert found["formation_energy"] == pytest.approx(-3.0 + energy - 0.1)
    assert found[COMPUTED] == (None if bound else 0.1)


def test_a_computed_polymorph_counts_more_than_a_gain() -> None:
    found = gains([_start(-0.09, "single tilted a-a-a-")])
    (sample,) = lowest_polymorphs([_cubic(0.1), _tilted(0.05)], found)
    assert (sample.labels["e_above_hull"], sample.labels["tilted"]) == (0.05, 1)
    (sample,) = lowest_polymorphs([_cubic(0.0)], found)
    assert (sample.labels["e_above_hull"], sample.labels["tilted"]) == (0.0, 0)


def test_gains_know_both_orders_of_the_two_elements_on_b() -> None:
    crystal = _sample(DOUBLE_PEROVSKITE.structure(np.array([57, 13, 49, 8]), 8.0), "double", 0.1)
    for first, second in (("Al", "In"), ("In", "Al")):
        found = gains([_start(-0.04, "rock-salt tilted a-b+a-", first, second)])
        assert list(found.values()) == [Gain(-0.04, tilted=True)]
        (sample,) = lowest_polymorphs([crystal], found)
        assert sample.labels["e_above_hull"] == pytest.approx(0.06)


def test_a_start_without_a_difference_is_refused() -> None:
    with pytest.raises(UserError, match="row 0: a row of relaxed starts needs A, B, X and a difference"):
        gains([_start("", "single tilted a-a-a-")])
