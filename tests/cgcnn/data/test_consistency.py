"""Crystals whose two energies are of different calculations are left out, and no others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cgcnn.data.consistency import agreeing
from cgcnn.data.sample import Sample

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
