import numpy as np
import pytest

from cgcnn.errors import UserError
from screening.candidates.listed import read_candidates


@pytest.fixture
def parse(tmp_path):
    def write(text, prototype=None, **options):
        (tmp_path / "some.csv").write_text(text, encoding="utf-8")
        return read_candidates(tmp_path / "some.csv", prototype, **options)

    return write


def test_one_column_a_role_fills_all_its_sites(parse):
    listed = parse("\ufeffid,A,B,X\nfirst, Ca,Ti,O\n")
    np.testing.assert_array_equal(listed.decode(0, 1), [[20, 22, 8, 8, 8]])
    assert (listed.name_columns, listed.text_columns) == (("A", "B", "X"), ("id",))
    assert listed.texts([0]) == {0: ["first"]}


def test_one_column_a_site_is_read_in_any_order_of_columns_and_made_canonical(parse):
    listed = parse("X3,X2,X1,B,A,note\nO,N,O,Ta,Ba,\n")
    np.testing.assert_array_equal(listed.decode(0, 1), [[56, 73, 8, 8, 7]])
    assert listed.name_columns == ("A", "B", "X1", "X2", "X3")
    assert listed.texts([0]) == {0: [""]}


def test_rows_keep_their_order_and_repeats(parse):
    listed = parse("A,B,X\nCa,Ti,O\nBa,Ti,O\nCa,Ti,O\n")
    assert listed.count == 3
    assert listed.decode(0, 3)[:, 0].tolist() == [20, 56, 20]
    assert listed.decode(1, 3)[:, 0].tolist() == [56, 20]


def test_either_order_of_b_and_b_prime_is_the_same_double_perovskite(parse):
    listed = parse("id,A,B,B',X\n1,Cs,Bi,Ag,Br\n2,Cs,Ag,Bi,Br\n")
    assert listed.decode(0, 2).tolist() == [[55, 47, 83, 35]] * 2
    assert (listed.name_columns, listed.texts([1])) == (("A", "B", "B'", "X"), {1: ["2"]})


@pytest.mark.parametrize(
    ("text", "prototype", "message"),
    [
        (
            "A,B,X\nCs,Ag,Br\n",
            "double-perovskite",
            r"no column B'; needed are A,B,B',X .*Its columns are A,B,X\.",
        ),
        ("A,B\nCa,Ti\n", None, r"no column X; needed are A,B,X or A,B,X1,X2,X3 .* or A,B,B',X .* columns are A,B\."),
        ("A,B,X\n", "spinel", "`prototype` spinel: unknown; choose one of cubic-perovskite"),
        ("", None, "Its columns are none"),
        ("A,B,X\n", None, "no candidates"),
    ],
)
def test_a_file_without_candidates_is_refused(parse, text, prototype, message):
    with pytest.raises(UserError, match=message):
        parse(text, prototype)


@pytest.mark.parametrize(
    "header", ["A,B,B1,X", "A,B,B',X", "A,B,X,X1", "A',A,B,X", "A,B,B',B'',X", "A,A site,B,X", "A,B,B?,X"]
)
def test_a_column_that_looks_like_a_site_and_is_none_is_refused_with_the_names_that_are_meant(parse, header):
    prototype = "cubic-perovskite" if header == "A,B,B',X" else None
    with pytest.raises(UserError, match=r"looks like a site; .* or A,B,B',X \(double-perovskite\)"):
        parse(f"{header}\nCs,Ag,Bi,Br\n", prototype)


@pytest.mark.parametrize("header", ["A,A,B,X", "A,B,X,X"])
def test_a_site_that_is_named_twice_is_refused(parse, header):
    with pytest.raises(UserError, match=r"2 columns are called [AX]\. Give"):
        parse(f"{header}\nCs,Ag,Bi,Br\n")


def test_symbols_may_be_written_in_lower_case(parse):
    np.testing.assert_array_equal(parse("A,B,X\nba,ti , o\n").decode(0, 1), [[56, 22, 8, 8, 8]])


BAD = "id,A,B,B',X\ngood,Cs,Ag,Bi,Br\nxx,Cs,Xx,Bi,Br\nsame,Ca,Ti, Ti,O\nempty,Ca,,Ti,O\nshort,Ca,Ti\n"


def test_a_row_that_is_no_candidate_is_kept_to_fail_with_its_line_and_reason(parse):
    listed = parse(BAD)
    assert listed.count == 5
    assert listed.decode(0, 5).tolist() == [[55, 47, 83, 35], *[[0] * 4] * 4]
    reasons = listed.unusable(0, 5)
    assert list(reasons) == [1, 2, 3, 4]
    for index, reason in enumerate(
        ["line 3, column B: 'Xx'", "line 4: Ti on both B and B'", "line 5, column B:", "line 6, column B'"], 1
    ):
        assert reasons[index].startswith(reason)
    assert listed.unusable(2, 4).keys() == {2, 3}
    assert listed.texts([4]) == {4: ["short"]}
    assert not listed.mixes_anions


def test_a_strict_reading_refuses_the_file_at_the_first_such_row(parse):
    with pytest.raises(UserError, match=r"some\.csv, line 3, column B: 'Xx' is not the symbol"):
        parse(BAD, strict=True)


@pytest.mark.parametrize(
    "header",
    [
        "A,B1,B2,X",
        "A, B, B', X",
        "element_A,element_B,element_Bprime,X",
        "a,b,b',x",
        "A site,B site,B' site,X site",
        "A,B',B\",X",
        "A,B,B\u2032,X",
        "A,B,B2,X",
        "A_element,B_prime,B_doubleprime,X_anion",
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_double_perovskites_are_read_with_headers_as_published(parse, header, separator):
    listed = parse("\n".join([f"{header},note", "Cs,Ag,Bi,Br,x", ",,,,", ""]).replace(",", separator))
    assert (listed.prototype, listed.decode(0, 1).tolist()) == ("double-perovskite", [[55, 47, 83, 35]])
    assert (listed.name_columns, listed.text_columns) == (("A", "B", "B'", "X"), ("note",))
    assert listed.count == 1


@pytest.mark.parametrize("header", ["A, B, X", "a,b,x", "element_A,element_B,element_X", "A-site,B-site,X-site"])
def test_simple_perovskites_are_read_with_headers_as_published(parse, header):
    listed = parse(f"{header},a,c\nCa,Ti,O,3.8,4\n".replace(",a,c", ",e,c"))
    assert (listed.decode(0, 1).tolist(), listed.name_columns) == ([[20, 22, 8, 8, 8]], ("A", "B", "X"))


def test_lattice_constants_beside_sites_are_labels(parse):
    listed = parse("a,b,c,A,B,X\n1,2,3,Ca,Ti,O\n")
    assert (listed.decode(0, 1).tolist(), listed.text_columns) == ([[20, 22, 8, 8, 8]], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A B X\nCa Ti O\n", "Its columns are A B X .one column: separate cells by commas, semicolons or tabs, not by"),
        ("Ca,Ti,O\nSr,Ti,O\n", "Name the columns in the first line"),
        ("id,formula\n1,CaTiO3\n", "no column A and B and X; needed are A,B,X"),
        ('A,B,X\n",Ti,O\n",Zr,O\nCa,Ti,O\n', "line 2, column A: the quote"),
        ('A,B,X,note\nCa,Ti,O,"open\nSr,Ti,O,x\n', "line 2, cell 4: a quote opens"),
    ],
)
def test_a_file_that_would_lose_rows_or_columns_is_refused(parse, text, message):
    with pytest.raises(UserError, match=message):
        parse(text)


def test_a_cell_beyond_the_header_fails_its_row_and_is_named(parse):
    listed = parse("A,B,X\nCs,Ag,Bi,Br\nCa,Ti,O\n")
    assert listed.count == 2
    assert listed.unusable(0, 2)[0].startswith("line 2: 4 cells for 3 columns (A,B,X); 'Br' is beyond the last.")
    with pytest.raises(UserError, match=r"some\.csv, line 2: 4 cells"):
        parse("A,B,X\nCs,Ag,Bi,Br\nCa,Ti,O\n", strict=True)


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [
        ("Calcium", "Write the symbol: Ca."),
        ("Ca2+", "Write the symbol: Ca."),
        ("CaO", "A site takes one element, not a formula"),
        ("MA", "Organic cations are not supported yet"),
        ("halogens", "Name the elements: F,Cl,Br,I."),
        ('""""', "Write out what the ditto mark stands for."),
    ],
)
def test_a_cell_that_is_no_symbol_fails_with_a_hint_that_fits(parse, cell, remedy):
    (reason,) = parse(f"A,B,X\n{cell},Ti,O\n").unusable(0, 1).values()
    assert reason.startswith("line 2, column A: ")
    assert remedy in reason


@pytest.mark.parametrize("header", ["A,B,B?,X", "A,B,B\ufffd,X", "A,B,B*,X"])
def test_a_prime_that_was_lost_in_an_encoding_is_not_taken_for_a_label(header, tmp_path):
    (tmp_path / "l.csv").write_text(f"{header}\nCs,Ag,Bi,Br\n", encoding="utf-8")
    with pytest.raises(UserError, match="looks like a site"):
        read_candidates(tmp_path / "l.csv")
