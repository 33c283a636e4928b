"""Crystals whose two energies are of different calculations are left out, and formation energies get one scale."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cgcnn.data.samples import Sample
from cgcnn.training.curation import agreeing, legacy_minus_2020, on_mp2020

ELEMENTS = {"Sr": 1.5, "Ba": 1.9, "Ti": 7.9, "Zr": 8.5, "O": 4.9, "S": 4.1}
FRAC = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
OXIDES = 0.4  # eV an oxygen, which only the formation energy of an oxide has


def _sample(name: str, symbols: tuple[str, ...], rng: np.random.Generator, off: float = 0.0) -> Sample:
    total = float(rng.uniform(-8, -4))
    formation = total + sum(ELEMENTS[s] for s in symbols) / 5 - OXIDES * symbols.count("O") / 5 + off
    crystal = {"cell": [4, 4, 4, 90, 90, 90], "species": symbols, "frac": FRAC}
    return Sample(name, {"formation_energy": formation, "energy_per_atom": total}, "record", json.dumps(crystal))


def _samples(off: dict[int, float], often: int = 20) -> list[Sample]:
    rng = np.random.default_rng(0)
    kinds = [(a, b, *([x] * 3)) for a in ("Sr", "Ba") for b in ("Ti", "Zr") for x in ("O", "S")]
    return [_sample(f"{i}", kinds[i % 8], rng, off.get(i, 0.0)) for i in range(8 * often)]


def test_rows_off_the_sum_are_left_out() -> None:
    samples = _samples({3: 0.15, 40: -0.03, 77: 0.01})
    kept = agreeing(samples, "formation_energy", "energy_per_atom")
    assert {s.id for s in samples} - {s.id for s in kept} == {"3", "40"}


def test_what_cannot_be_told_stays() -> None:
    samples = _samples({3: 0.15})
    samples[3] = Sample("3", samples[3].labels | {"energy_per_atom": None}, "record", samples[3].content)
    samples[4] = Sample("4", samples[4].labels, "broken", "no crystal")
    assert agreeing(samples, "formation_energy", "energy_per_atom") == samples


@pytest.mark.parametrize("often", [0, 2])
def test_too_few_rows_say_nothing(often: int) -> None:
    samples = _samples({3: 0.5}, often)
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
