"""A small model with random weights, as a file, for everything that screens."""

import pytest

from cgcnn.prototype import CUBIC_PEROVSKITE
from cgcnn.untrained import untrained
from cgcnn.weights import save

TRAINED = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O", "N")}


@pytest.fixture(scope="session")
def model_path(tmp_path_factory):
    return save(untrained(CUBIC_PEROVSKITE, TRAINED), tmp_path_factory.mktemp("model") / "random")
