import numpy as np
import pytest

from cgcnn.errors import UserError
from cgcnn.prototype import CUBIC_PEROVSKITE
from screening.candidates import read_candidates


@pytest.fixture
def parse(tmp_path):
    def write(text):
        (tmp_path / "some.csv").write_text(text, encoding="utf-8")
        return read_candidates(tmp_path / "some.csv", CUBIC_PEROVSKITE)

    return write


def test_one_column_a_role_fills_all_its_sites(parse):
    listed = parse("\ufeffid,A,B,X\nfirst, Ca,Ti,O\n")
    np.testing.assert_array_equal(listed.decode(0, 1), [[20, 22, 8, 8, 8]])
    assert (listed.columns, listed.extra) == (("A", "B", "X"), ("id",))
    assert listed.texts([0]) == {0: ["first"]}


def test_one_column_a_site_is_read_in_any_order_of_columns_and_made_canonical(parse):
    listed = parse("X3,X2,X1,B,A,note\nO,N,O,Ta,Ba,\n")
    np.testing.assert_array_equal(listed.decode(0, 1), [[56, 73, 8, 8, 7]])
    assert listed.columns == ("A", "B", "X1", "X2", "X3")
    assert listed.texts([0]) == {0: [""]}


def test_rows_keep_their_order_and_repeats(parse):
    listed = parse("A,B,X\nCa,Ti,O\nBa,Ti,O\nCa,Ti,O\n")
    assert listed.count == 3
    assert listed.decode(0, 3)[:, 0].tolist() == [20, 56, 20]
    assert listed.decode(1, 3)[:, 0].tolist() == [56, 20]


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
def test_a_bad_file_is_refused_naming_the_place(parse, text, message):
    with pytest.raises(UserError, match=message):
        parse(text)
