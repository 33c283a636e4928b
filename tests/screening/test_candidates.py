import numpy as np
import pytest

from cgcnn.errors import UserError
from cgcnn.prototype import CUBIC_PEROVSKITE
from screening.candidates import parse_candidates


def parse(text):
    return parse_candidates(text, CUBIC_PEROVSKITE, "some.csv")


def test_one_column_a_role_fills_all_its_sites():
    parsed = parse("id,A,B,X\nfirst,Ca,Ti,O\n")
    np.testing.assert_array_equal(parsed.species, [[20, 22, 8, 8, 8]])
    assert parsed.site_columns == ("A", "B", "X")
    assert parsed.extra == {"id": ["first"]}


def test_one_column_a_site_is_read_in_any_order_of_columns():
    parsed = parse("X3,X2,X1,B,A,note\nO,N,O,Ta,Ba,\n")
    np.testing.assert_array_equal(parsed.species, [[56, 73, 8, 7, 8]])
    assert parsed.site_columns == ("A", "B", "X1", "X2", "X3")
    assert parsed.extra == {"note": [""]}


def test_rows_keep_their_order_and_repeats():
    parsed = parse("A,B,X\nCa,Ti,O\nBa,Ti,O\nCa,Ti,O\n")
    assert parsed.species[:, 0].tolist() == [20, 56, 20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,B\nCa,Ti\n", r"its columns are A,B; cubic-perovskite needs A,B,X or A,B,X1,X2,X3"),
        ("", "its columns are none"),
        ("A,B,X\n", "no candidates"),
        ("A,B,X\nCa,Ti,O\nCa,Xx,O\n", r"line 3, column B: 'Xx'"),
        ("A,B,X\nCa,Ti\n", r"line 2, column X"),
    ],
)
def test_a_bad_file_is_refused_naming_the_place(text, message):
    with pytest.raises(UserError, match=message):
        parse(text)
