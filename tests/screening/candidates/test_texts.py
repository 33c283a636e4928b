import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgcnn.files import printable
from cgcnn.graphs.prototype import DOUBLE_PEROVSKITE, PROTOTYPES
from screening.candidates.texts import array, formulas, from_bytes, states, strings, symbols
from screening.chemistry.oxidation import states_text


def plain_formula(species, prototype):
    """The formula of one candidate, site by site."""
    counts = {}
    for z in species[list(prototype.atoms)].tolist():
        counts[z] = counts.get(z, 0) + 1
    return "".join({8: "O", 9: "F", 22: "Ti", 100: "Fm"}[z] + (str(n) if n > 1 else "") for z, n in counts.items())


@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
@given(seed=st.integers(0, 99))
def test_formulas_are_those_of_single_candidates(prototype, seed):
    species = np.random.default_rng(seed).choice([8, 9, 22, 100], size=(20, len(prototype.sites))).astype(np.uint8)
    on_x = np.flatnonzero(prototype.on_x)
    species[:, on_x] = np.sort(species[:, on_x], axis=1)  # O before F
    species[:, on_x] = np.where(species[:, on_x] > 9, 9, species[:, on_x])
    neutral = np.zeros(species.shape, dtype=np.int8)
    assert formulas(species, prototype, neutral).to_pylist() == [plain_formula(row, prototype) for row in species]
    assert symbols(species[:, 0]).to_pylist() == [{8: "O", 9: "F", 22: "Ti", 100: "Fm"}[z] for z in species[:, 0]]


def test_the_less_charged_b_comes_first():
    rows = np.array([[55, 39, 47, 17], [55, 47, 83, 35], [57, 28, 25, 8], [38, 26, 42, 8]], dtype=np.uint8)
    assert formulas(rows, DOUBLE_PEROVSKITE).to_pylist() == ["Cs2AgYCl6", "Cs2AgBiBr6", "La2NiMnO6", "Sr2FeMoO6"]
    charges = np.array([[1, 3, 1, -1]], dtype=np.int8)
    assert formulas(rows[:1], DOUBLE_PEROVSKITE, charges).to_pylist() == ["Cs2AgYCl6"]


@given(seed=st.integers(0, 99))
def test_ions_are_those_of_single_candidates(seed):
    random = np.random.default_rng(seed)
    species = random.choice([8, 20, 22, 83], size=(20, 4)).astype(np.uint8)
    charges = random.integers(-9, 10, size=(20, 4)).astype(np.int8) * random.integers(0, 2, size=(20, 1), dtype=np.int8)
    assert states(species, charges).to_pylist() == [text or None for text in map(states_text, species, charges)]
    mixed = np.array([[83, 83, 8, 8]], dtype=np.uint8), np.array([[4, 4, -2, -2]], dtype=np.int8)
    assert states(*mixed).to_pylist() == ["Bi3+/Bi5+ O2-"]


@given(st.lists(st.text(max_size=6)))
def test_strings_keep_every_character_that_can_be_printed(texts):
    assert strings(texts).to_pylist() == [printable(text) or None for text in texts]


def test_texts_of_bytes_end_where_the_padding_begins():
    letters = np.array([[97, 0, 0], [0, 0, 0], [97, 98, 99]], dtype=np.uint8)
    assert from_bytes(letters).to_pylist() == ["a", None, "abc"]
    assert from_bytes(letters[:, :0]).to_pylist() == [None, None, None]
    assert from_bytes(np.array([[27, 97]], dtype=np.uint8)).to_pylist() == ["\\x1ba"]


@given(st.lists(st.floats(width=32) | st.just(float("nan"))))
def test_numbers_are_kept_and_nan_is_null(values):
    found = array(np.array(values, dtype=np.float32)).to_pylist()
    assert found == [None if np.isnan(value) else np.float32(value) for value in values]


@given(st.lists(st.booleans()))
def test_flags_are_kept(values):
    assert array(np.array(values, dtype=bool)).to_pylist() == values
