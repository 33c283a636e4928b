"""Crystals and models that several tests share."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.prototype import CUBIC_PEROVSKITE
from cgcnn.untrained import untrained
from cgcnn.weights import Model

GRID = {"A": ["Sr", "Ba", "La"], "B": ["Ti", "Zr"], "X": ["N", "O", "F"]}


@pytest.fixture(scope="session")
def model() -> Model:
    return untrained(CUBIC_PEROVSKITE, GRID)


@pytest.fixture(scope="session")
def rutile() -> Structure:
    lattice = Lattice.tetragonal(4.594, 2.959)
    return Structure.from_spacegroup("P4_2/mnm", lattice, ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]])


@pytest.fixture(scope="session")
def compositions() -> np.ndarray:
    rows = [[56, 22, 8, 8, 8], [38, 40, 8, 8, 7], [57, 22, 7, 8, 9], [38, 22, 7, 7, 7], [56, 40, 8, 8, 9]]
    return np.array(rows, dtype=np.uint8)
