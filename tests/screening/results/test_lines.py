import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgcnn.files import csv_line
from cgcnn.graphs.prototype import PROTOTYPES
from screening.candidates.columns import DECIMALS, SORTABLE
from screening.candidates.compositions import formula
from screening.candidates.texts import formulas_text, make_text, states_texts, symbols_text
from screening.chemistry.oxidation import states_text
from screening.results.lines import fixed, join_lines, number, value
from screening.results.tables import text_of

FLOATS = st.floats(width=32) | st.floats(-2, 2, width=32) | st.integers(-64, 64).map(lambda n: n / 32)


def texts(columns):
    return join_lines([columns]).decode().split("\n")[:-1]


@given(st.lists(FLOATS, min_size=1, max_size=30), st.sampled_from([0, 2, 3, 4, 5]))
def test_numbers_are_written_as_python_writes_them(values, decimals):
    numbers = np.array(values, dtype=np.float32)
    expected = ["" if np.isnan(x) else f"{x:.{decimals}f}" for x in numbers]
    assert texts(fixed(numbers, decimals)) == expected


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 12), min_size=1, max_size=9))
def test_whole_numbers_are_written_as_python_writes_them(values):
    assert texts(number(np.array(values))) == list(map(str, values))


@pytest.mark.parametrize("name", [column.name for column in SORTABLE])
def test_columns_are_written_as_one_row_is(name):
    values = np.array([0, 1, 1, 0], dtype=bool) if name not in DECIMALS else np.float32([0.5, -1e-9, np.nan, 12.25])
    assert texts(value(name, values)) == [text_of(name, one) for one in values]


@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
@given(seed=st.integers(0, 99))
def test_formulas_are_those_of_single_candidates(prototype, seed):
    species = np.random.default_rng(seed).choice([8, 9, 22, 100], size=(20, len(prototype.sites))).astype(np.uint8)
    assert texts(formulas_text(species, prototype)) == [formula(row, prototype) for row in species]
    assert texts(symbols_text(species[:, 0])) == [{8: "O", 9: "F", 22: "Ti", 100: "Fm"}[z] for z in species[:, 0]]


@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from(["", "=1", "a,b", '"', "x\n", "é"])), min_size=1))
def test_strings_among_bytes_are_quoted_as_a_csv_writer_does(pairs):
    left, right = zip(*pairs, strict=True)
    count = number(np.arange(len(pairs)))
    written = join_lines([left, count, right, left]).decode()
    assert written == "".join(csv_line([a, i, b, a]) for i, (a, b) in enumerate(pairs))
    assert join_lines([left]).decode() == "".join(csv_line(["", a])[1:] for a in left)
    assert len(list(csv.reader(io.StringIO(written)))) == len(pairs)


def test_texts_of_unequal_length_lose_nothing():
    assert texts(make_text(["a", "", "abc"])) == ["a", "", "abc"]


@given(seed=st.integers(0, 99))
def test_ions_are_those_of_single_candidates(seed):
    random = np.random.default_rng(seed)
    species = random.choice([8, 20, 22, 83], size=(20, 4)).astype(np.uint8)
    charges = random.integers(-9, 10, size=(20, 4)).astype(np.int8) * random.integers(0, 2, size=(20, 1), dtype=np.int8)
    assert texts(states_texts(species, charges)) == list(map(states_text, species, charges))
    mixed = np.array([[83, 83, 8, 8]], dtype=np.uint8), np.array([[4, 4, -2, -2]], dtype=np.int8)
    assert texts(states_texts(*mixed)) == ["Bi3+/Bi5+ O2-"]
