"""Crystals and models that several tests share."""

from collections.abc import Iterator

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.model import Model
from cgcnn.testing import untrained

GRID = {"A": ["Sr", "Ba", "La"], "B": ["Ti", "Zr"], "X": ["N", "O", "F"]}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep no graphs among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


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
