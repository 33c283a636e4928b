"""Energies are put on one scale, and the lowest polymorph of a composition is its label."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure

from cgcnn.data.samples import Sample, from_record
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.training.curation import (
    BOUND,
    COMPUTED,
    Gain,
    agreeing,
    gains,
    legacy_minus_2020,
    lowest_polymorphs,
    on_mp2020,
)

ELEMENTS = {"Sr": 1.5, "Ba": 1.9, "Ti": 7.9, "Zr": 8.5, "O": 4.9, "S": 4.1}
FRAC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
OXIDES = 0.4  # eV an oxygen, which only the formation energy of an oxide has


def _sample(name: str, symbols: tuple[str, ...], rng: np.random.Generator, off: float = 0.0) -> Sample:
    total = float(rng.uniform(-8, -4))
    formation = total + sum(ELEMENTS[s] for s in symbols) / 5 - OXIDES * symbols.count("O") / 5 + off
    crystal = {"cell": [4, 4, 4, 90, 90, 90], "species": symbols, "frac": FRAC}
    return Sample(name, {"formation_energy": formation, "energy_per_atom": total}, "record", json.dumps(crystal))


def _with_energies(off: dict[int, float], often: int = 20) -> list[Sample]:
    rng = np.random.default_rng(0)
    kinds = [(a, b, *([x] * 3)) for a in ("Sr", "Ba") for b in ("Ti", "Zr") for x in ("O", "S")]
    return [_sample(f"{i}", kinds[i % 8], rng, off.get(i, 0.0)) for i in range(8 * often)]


def test_rows_off_the_sum_are_left_out() -> None:
    samples = _with_energies({3: 0.15, 40: -0.03, 77: 0.01})
    kept = agreeing(samples, "formation_energy", "energy_per_atom")
    assert {s.id for s in samples} - {s.id for s in kept} == {"3", "40"}


def test_what_cannot_be_told_stays() -> None:
    samples = _with_energies({3: 0.15})
    samples[3] = Sample("3", samples[3].labels | {"energy_per_atom": None}, "record", samples[3].content)
    samples[4] = Sample("4", samples[4].labels, "broken", "no crystal")
    assert agreeing(samples, "formation_energy", "energy_per_atom") == samples


@pytest.mark.parametrize("often", [0, 2])
def test_too_few_rows_say_nothing(often: int) -> None:
    samples = _with_energies({3: 0.5}, often)
    assert agreeing(samples, "formation_energy", "energy_per_atom") == samples


@pytest.mark.parametrize(
    ("formula", "shift"),
    [  # what the Materials Project's own numbers of the same crystals differ by, to a few meV/atom
        ({"Cs": 1, "Pb": 1, "Br": 3}, 0.320),
        ({"Cs": 2, "Na": 1, "In": 1, "Br": 6}, 0.320),
        ({"Cs": 1, "Pb": 1, "I": 3}, 0.227),
        ({"Cs": 1, "Pb": 1, "Cl": 3}, 0.012),
        ({"K": 1, "Mg": 1, "F": 3}, -0.018),
        ({"Ba": 1, "Zr": 1, "S": 3}, -0.096),
        ({"Ba": 1, "Zr": 1, "Se": 3}, 0.283),
        ({"Ba": 1, "Zr": 1, "O": 3}, -0.009),
        ({"La": 1, "W": 1, "N": 3}, -0.014),
        ({"Sr": 1, "Li": 1, "H": 3}, 0.016),
        ({"La": 1, "Al": 1, "Ru": 3}, 0.0),  # no anion that either corrects
    ],
)
def test_formation_energies_before_2020_are_higher_by_the_anion(formula: dict[str, int], shift: float) -> None:
    assert legacy_minus_2020(formula) == pytest.approx(shift, abs=0.002)
    assert legacy_minus_2020({symbol: 4 * count for symbol, count in formula.items()}) == legacy_minus_2020(formula)


def test_metals_with_a_u_shift_only_beside_oxygen_or_fluorine() -> None:
    oxide, sulphide = ({"La": 1, "Fe": 1, x: 3} for x in ("O", "S"))
    shift = legacy_minus_2020(oxide) - legacy_minus_2020({"La": 1, "Al": 1, "O": 3})
    assert shift == pytest.approx((-2.733 + 2.256) / 5, abs=1e-6)
    assert legacy_minus_2020(sulphide) == pytest.approx(legacy_minus_2020({"La": 1, "Al": 1, "S": 3}))


def test_one_compound_of_both_scales_has_one_formation_energy() -> None:
    crystal = {"cell": [6, 6, 6, 90, 90, 90], "species": ["Cs", "Pb", "Br", "Br", "Br"], "frac": FRAC}
    content = json.dumps(crystal)
    older = Sample("older", {"formation_energy": -1.2}, "record", content)
    (found,) = on_mp2020([older])
    assert found.labels["formation_energy"] == pytest.approx(-1.52, abs=0.001)
    none = Sample("none", {"formation_energy": None}, "record", content)
    assert on_mp2020([none]) == [none]
    broken = Sample("broken", {"formation_energy": -1.0}, "broken", "no crystal")
    assert on_mp2020([broken])[0].labels["formation_energy"] is None  # no scale that is known


def _polymorph(crystal: Structure, name: str, energy: float | None) -> Sample:
    record = {"id": name, "structure": crystal.as_dict(), "e_above_hull": energy, "band_gap": 1.0}
    return from_record(record, 0)


def _cubic(energy: float | None) -> Sample:
    return _polymorph(CUBIC_PEROVSKITE.structure(np.array([57, 13, 8, 8, 8]), 3.8), "cubic", energy)


def _tilted(energy: float) -> Sample:
    sites = [[0, 0, 0.25], [0, 0, 0], [0.5281, 0, 0.25]]
    crystal = Structure.from_spacegroup("R-3c", Lattice.hexagonal(5.3647, 13.1114), ["La", "Al", "O"], sites)
    return _polymorph(crystal, "tilted", energy)


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
    (sample,) = lowest_polymorphs([_polymorph(double, "double", 0.0)])
    assert [sample.labels[name] for name in ("A", "B", "B'", "X")] == ["Cs", "Ag", "Bi", "Cl"]


def test_others_and_those_without_energy_are_left_out() -> None:
    rock_salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert lowest_polymorphs([_polymorph(rock_salt, "NaCl", 0.0), _cubic(None)]) == []


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
    crystal = _polymorph(DOUBLE_PEROVSKITE.structure(np.array([57, 13, 49, 8]), 8.0), "double", 0.1)
    for first, second in (("Al", "In"), ("In", "Al")):
        found = gains([_start(-0.04, "rock-salt tilted a-b+a-", first, second)])
        assert list(found.values()) == [Gain(-0.04, tilted=True)]
        (sample,) = lowest_polymorphs([crystal], found)
        assert sample.labels["e_above_hull"] == pytest.approx(0.06)


def test_a_start_without_a_difference_is_refused() -> None:
    with pytest.raises(UserError, match="row 0: a row of relaxed starts needs A, B, X and a difference"):
        gains([_start("", "single tilted a-a-a-")])
