import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.data.tables import open_table
from cgcnn.errors import UserError


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8", **options):
        path = tmp_path / "some.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        found = open_table(path, source="some.csv", **options)
        return found, list(found.rows)

    return write


def cells(rows):
    return [list(row.cells) for row in rows]


SEPARATORS = st.sampled_from([",", ";", "\t"])
DIALECTS = st.tuples(SEPARATORS, st.sampled_from(["\n", "\r\n"]), st.booleans()) | st.tuples(
    SEPARATORS,
    st.just("\r"),
    st.sampled_from([True]),  # otherwise the writer leaves line feeds in cells without quotes
)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
TEXT = st.text(st.sampled_from("abCaTi'\"#,;\t\n0.5-éÅ β"), max_size=6)


@st.composite
def tables(draw):
    width = draw(st.integers(2, 5))
    header = [f"c{i}" for i in range(width)]
    body = draw(st.lists(st.lists(TEXT, min_size=width, max_size=width), min_size=1, max_size=6))
    return header, body


@settings(deadline=None, max_examples=300)
@given(tables(), DIALECTS, ENCODINGS)
def test_what_any_dialect_writes_is_read_cell_for_cell_or_refused(tmp_path_factory, content, dialect, encoding):
    header, body = content
    separator, end, all_quoted = dialect
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows([header, *body])
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(stream.getvalue().encode(encoding))
    try:
        found = open_table(path)
        rows = list(found.rows)
    except UserError:
        return
    assert (found.header, found.separator) == (tuple(header), separator)

    def plain(row):
        return [cell.strip() for cell in row]

    kept = iter(rows)
    for row in body:
        quoted = all_quoted or any(mark in row[0] for mark in (separator, '"', "\r", "\n"))
        comment = re.match(r"\s*#(?!\d)", row[0]) and not any(cell.strip() for cell in row[1:]) and not quoted
        if not any(plain(row)) or comment:
            continue
        read = next(kept)
        assert read.fault or plain(read.cells) == plain(row)
    assert next(kept, None) is None


@settings(deadline=None, max_examples=300)
@given(st.data(), SEPARATORS)
def test_one_stray_character_changes_no_other_row(tmp_path_factory, data, separator):
    lines = [separator.join(["id", "A", "B", "X"])]
    lines += [separator.join([str(i), "Ca", symbol, "O"]) for i, symbol in enumerate(["Ti", "Zr", "Hf", "Sn"], 1)]
    row = data.draw(st.integers(1, 4))
    at = data.draw(st.integers(0, len(lines[row])))
    lines[row] = (
        lines[row][:at] + data.draw(st.sampled_from(['"', separator, ",", "#", "\ufeff", "\r"])) + lines[row][at:]
    )
    path = tmp_path_factory.getbasetemp() / "stray.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    try:
        rows = list(open_table(path).rows)
    except UserError:
        return
    others = [line.split(separator) for i, line in enumerate(lines[1:], 1) if i != row]
    assert [line for line in others if line in cells(rows)] == others
    assert len(rows) >= 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_separators_and_encodings_that_are_clear_are_read(table, separator, encoding):
    text = separator.join(["A", "B", "X", "note\r\nCa", "Ti", "O", "1 Å\r\n"])
    found, rows = table(text, encoding)
    assert found.header == ("A", "B", "X", "note")
    assert cells(rows) == [["Ca", "Ti", "O", "1 Å"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A,n\nCa,Привет\n".encode("cp1251"), "line 2: neither UTF-8 nor clearly Windows-1252"),
        ("A,n\nCa,é\n".encode() + "Sr,é\n".encode("cp1252"), "line 3: in another encoding than lines above"),
        (b"\xff\xfeA\0,\0X\0\n\0C\0\xd8", "damaged UTF-16"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
        (b"PK\x03\x04nothing", "not a readable workbook"),
    ],
)
def test_what_is_in_no_clear_encoding_is_refused(table, content, message):
    with pytest.raises(UserError, match=message):
        table(content)


def test_excels_own_line_says_the_separator(table):
    found, rows = table("sep=;\r\nA;B,C\r\nx;y\r\n")
    assert (found.header, cells(rows)) == (("A", "B,C"), [["x", "y"]])


def test_two_separators_that_may_both_be_meant_are_refused(table):
    with pytest.raises(UserError, match=r"some\.csv, line 1: commas and semicolons may both separate"):
        table("A,B;X\nCa,Ti;O\n")


def test_another_separator_is_named(table):
    assert table("A B X\nCa Ti O\n")[0].said.endswith("not by blanks)")
    assert table("A|B|X\nCa|Ti|O\n")[0].said.endswith("not by |)")


def test_cells_beyond_the_header_are_a_fault_that_names_line_and_cell(table):
    _, rows = table("A,B,X\nCa,Ti,O\nCs,Ag,Bi,Br\n")
    assert not rows[0].fault
    assert rows[1].fault.startswith("line 3: 4 cells for 3 columns (A,B,X); 'Br' is beyond the last.")


def test_a_decimal_comma_among_commas_is_a_fault_with_its_remedy(table):
    _, rows = table("id,target\nx,0,5\n")
    assert rows[0].fault.endswith("Write decimal points, or separate cells by semicolons.")


def test_empty_cells_columns_and_rows_of_spreadsheets_are_no_faults(table):
    found, rows = table("A,B,X,,\r\nCa,Ti,O,,\r\n,,,,\r\n\r\nSr,Ti\r\n,,,,\r\n,,,,\r\n")
    assert found.header == ("A", "B", "X")
    assert cells(rows) == [["Ca", "Ti", "O"], ["Sr", "Ti", ""]]
    assert [(row.line, row.fault) for row in rows] == [(2, ""), (5, "")]


@pytest.mark.parametrize("header", ["A,B,B,X", "A,x, x ", "note,A,note"])
def test_two_columns_of_one_name_are_refused(table, header):
    with pytest.raises(UserError, match=r"some\.csv, line 1: 2 columns are called (B|x|note)\."):
        table(f"{header}\n1,2,3,4\n")


@pytest.mark.parametrize(
    "text",
    [
        'A,B,X\n",Ti,O\n",Zr,O\nSr,Ti,O\n',
        'A,B,X\n"Ca,Ti,O\nSr,Ti,O\n',
        'A,B,X,n\nCa,Ti,O,"open\nCa,Zr,O,x\nSr,Ti,O,y"\n',
        'A,B,X,n\nCa,Ti,O,"open\nCa,Zr,O,x\nSr,Ti,O,"fine"\n',
        'A,B,X,n\nCa,Ti,"\nCa,Zr,"\n',
        'A,B,X,"n\nCa,Zr,O,"\nSr,Ti,O,y\n',
        'A\n"Ca\nSr"\nBa\n',
    ],
)
def test_an_open_quote_or_a_ditto_mark_never_hides_rows(table, text):
    with pytest.raises(UserError, match=r"some\.csv, line \d.*quote"):
        table(text)


def test_cells_of_several_lines_are_read(table):
    _, rows = table('id,note,A,B,X\n1,"two\nlines",Ca,Ti,O\n2,"say ""x"", y",Sr,Ti,O\n')
    assert cells(rows) == [["1", "two\nlines", "Ca", "Ti", "O"], ["2", 'say "x", y', "Sr", "Ti", "O"]]
    assert [row.line for row in rows] == [2, 4]
    cif = "data_x\n1 'x, y, z'\n2 '-x, -y, -z'\n"
    assert cells(table(f'id,cif\n1,"{cif}"\n')[1]) == [["1", cif]]


def test_comments_are_left_out_and_rows_that_may_be_one_are_faults(table):
    found, rows = table('# from X, Y and Z\n\nid,A,B,X\n# all made\n#1,Ca,Ti,O\n#mp-1,Ca,Zr,O\n"#x",Sr,Ti,O\n')
    assert found.header == ("id", "A", "B", "X")
    assert [row.cells[0] for row in rows] == ["#1", "#mp-1", "#x"]
    assert [row.fault[:6] for row in rows] == ["", "line 6", ""]


def test_decimal_commas_are_numbers_where_they_are_clear(table):
    found, rows = table("id;e;v\na;0,5;1,234\nb;-1,25e-3;2,345\nc;;x\n")
    assert [[found.number(row, i) for i in range(3)] for row in rows] == [
        ["a", "0.5", "1.234"],
        ["b", "-1.25e-3", "2.345"],
        ["c", "", "x"],
    ]
    found, rows = table("id\tv\na\t1,234\n")
    assert found.number(rows[0], 1) == "1,234"  # may be a thousand
    found, rows = table("id;v\na;1,5\n" + "b;1,5\n" * 1000 + "c;1.500\n")
    with pytest.raises(UserError, match=r"line 1003, column v: 1\.500 has a point"):
        [found.number(row, 1) for row in rows]


def test_a_table_without_a_header_keeps_its_first_row(table):
    found, rows = table("# id, target\nmp-1,0.5\nmp-2,0.6,7\n", header=False)
    assert found.header == ()
    assert cells(rows) == [["mp-1", "0.5"], ["mp-2", "0.6"]]
    assert "beyond" in rows[1].fault


def test_an_empty_file_has_no_columns_and_a_missing_one_is_refused(table, tmp_path):
    assert table("")[0].said == "none"
    with pytest.raises(UserError, match="No such file"):
        open_table(tmp_path / "none.csv")
    with pytest.raises(UserError, match="Is a directory"):
        open_table(tmp_path)


def test_a_workbook_is_read_by_its_one_sheet_that_holds_something(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["A", "B", "X", "U"], ["Ca", "Ti", "O", 3], [], ["Sr", "Ti", "O", 0.5, "beyond"]):
        book.active.append(row)
    book.create_sheet("empty")
    book.save(tmp_path / "some.xlsx")
    found = open_table(tmp_path / "some.xlsx")
    rows = list(found.rows)
    assert (found.header, cells(rows)) == (("A", "B", "X", "U"), [["Ca", "Ti", "O", "3"], ["Sr", "Ti", "O", "0.5"]])
    assert [bool(row.fault) for row in rows] == [False, True]
    book["empty"].append(["x"])
    book.save(tmp_path / "some.xlsx")
    with pytest.raises(UserError, match="the sheets Sheet, empty are filled"):
        list(open_table(tmp_path / "some.xlsx").rows)
    del book["empty"]
    book.active["D2"] = "=1+1"
    book.save(tmp_path / "some.xlsx")
    with pytest.raises(UserError, match=r"row 2: '=1\+1' has no value"):
        list(open_table(tmp_path / "some.xlsx").rows)


@pytest.mark.parametrize("row", ["Ca;Ti;O", '"Ca,Ti,O"', "Ca\tTi\tO"])
def test_a_row_with_another_separator_than_the_header_is_a_fault_that_says_so(table, row):
    _, rows = table(f"A,B,X\n{row}\n")
    assert "is one cell for 3 columns; " in rows[0].fault
    assert table('"A,B,X"\n"Ca,Ti,O"\n')[0].said.endswith("(one cell, as quotes are around all of them)")
