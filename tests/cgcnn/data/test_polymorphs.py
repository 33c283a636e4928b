"""The lowest polymorph is the label; the cubic one alone only bounds it."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cgcnn.data.polymorphs import BOUND, lowest_polymorphs
from cgcnn.data.sample import Sample, from_record
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE


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
