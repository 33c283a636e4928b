import numpy as np
import pytest

from cgcnn.errors import UserError
from screening.candidates.listed import read_candidates


@pytest.fixture
def parse(tmp_path):
    def write(text, prototype=None):
        (tmp_path / "some.csv").write_text(text, encoding="utf-8")
        return read_candidates(tmp_path / "some.csv", prototype)

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


def test_either_order_of_b_and_b_prime_is_the_same_double_perovskite(parse):
    listed = parse("id,A,B,B',X\n1,Cs,Bi,Ag,Br\n2,Cs,Ag,Bi,Br\n")
    assert listed.decode(0, 2).tolist() == [[55, 47, 83, 35]] * 2
    assert (listed.columns, listed.texts([1])) == (("A", "B", "B'", "X"), {1: ["2"]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A,B,X\nCs,Ag,Br\n", r"its columns are A,B,X; double-perovskite needs A,B,B',X\."),
        ("A,B,B',X\nCs,Ag,Bi,Br\nCa,Ti, Ti,O\n", r"line 3: Ti on both B and B'"),
    ],
)
def test_a_bad_file_of_double_perovskites_is_refused(parse, text, message):
    with pytest.raises(UserError, match=message):
        parse(text, "double-perovskite")


def test_the_prototype_can_be_named_where_the_columns_mislead(parse):
    text = "A,B,B',X\nCa,Ti,a note,O\n"
    assert parse(text, "cubic-perovskite").extra == ("B'",)
    with pytest.raises(UserError, match="column B': 'a note'"):
        parse(text)
    with pytest.raises(UserError, match="--prototype spinel: unknown; there is cubic-perovskite"):
        parse(text, "spinel")


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
