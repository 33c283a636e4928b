"""What chemists know of gaps, asked of the shipped model."""

import numpy as np
import pytest

from cgcnn.elements import atomic_number
from cgcnn.models.files import load


@pytest.mark.parametrize("cations", [("Cs", "Pb"), ("Cs", "Sn"), ("Cs", "Ag", "Bi")], ids="-".join)
def test_gaps_fall_from_chlorides_to_iodides(cations):
    model = load("mp").on("double-perovskite" if len(cations) == 3 else "cubic-perovskite")
    anions = [("Cl",), ("Br",), ("I",)] if len(cations) == 3 else [("Cl",) * 3, ("Br",) * 3, ("I",) * 3]
    species = np.array([[atomic_number(symbol) for symbol in (*cations, *x)] for x in anions], dtype=np.uint8)
    gap, std = model.predict(species)["band_gap"]
    assert gap[0] > gap[1] > gap[2] > 0.3
    assert (std > 0).all()


def test_no_gap_is_negative():
    model = load("mp").on("cubic-perovskite")
    metals = [(a, b) for a in (38, 56, 57) for b in range(22, 30)]
    gap, _ = model.predict(np.array([[a, b, 8, 8, 8] for a, b in metals], dtype=np.uint8))["band_gap"]
    assert gap.min() == 0
