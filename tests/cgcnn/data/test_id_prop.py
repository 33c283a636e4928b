"""The table of a folder of the published code: no row and no label is lost, and each id finds its file."""

import gzip
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.data.crystal import structure
from cgcnn.data.read import read
from cgcnn.errors import UserError

SALT = Structure(Lattice.cubic(3.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF = SALT.to(fmt="cif")


@pytest.fixture
def rows(tmp_path: Path):
    def write(text: str, names: tuple[str, ...] = ("one", "two", "mp-3"), encoding: str = "utf-8"):
        for name in names:
            (tmp_path / f"{name}.cif").write_text(CIF)
        (tmp_path / "id_prop.csv").write_bytes(text.encode(encoding))
        return read(tmp_path)

    return write


@pytest.mark.parametrize("first", ["mp-1,", "mp-1,n/a", "mp-1", "mp-1,high", "mp-1,1.0"])
def test_a_first_row_without_a_number_or_a_file_is_kept(rows, first):
    samples = rows(f"{first}\none,0.5\ntwo,0.6\n")
    assert [(sample.id, sample.form) for sample in samples] == [("mp-1", "broken"), ("one", "cif"), ("two", "cif")]
    assert "mp-1.cif: No such file" in samples[0].content
    samples = rows(f"{first}\none,0.5\ntwo,0.6\n", ("mp-1",))
    assert [sample.form for sample in samples] == ["cif"] * 3


@pytest.mark.parametrize("header", ["id,gap", "ID;gap", "material_id\tgap", "compound,gap", "name, gap"])
def test_a_header_names_the_labels(rows, header):
    separator = next(mark for mark in ",;\t" if mark in header)
    samples = rows("\n".join([header, f"one{separator}0.5", f"two{separator}0.6"]), encoding="utf-8-sig")
    assert [(sample.id, sample.labels["gap"]) for sample in samples] == [("one", "0.5"), ("two", "0.6")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    ("separator", "number"), [(";", "0,5"), (";", "0.5"), ("\t", "0,5"), ("\t", "0.5"), (",", "0.5")]
)
def test_separators_and_decimal_commas_are_read(rows, separator, number, encoding):
    samples = rows(f"one{separator}{number}\r\ntwo{separator}{number}\r\n", encoding=encoding)
    assert [(sample.id, sample.form, sample.labels["target"]) for sample in samples] == [
        ("one", "cif", "0.5"),
        ("two", "cif", "0.5"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one 0.5\ntwo 0.6\n", "line 1: 'one 0.5' is one cell. Separate id and label by a comma"),
        ("one|0.5\ntwo|0.6\n", "Separate id and label by a comma"),
        ("one,0,512\ntwo,0,25\n", "line 1: 0,512 may be one number or two"),
        ("one,1,05\ntwo,1,25\n", "may be one number or two"),
        ('one,0.5\n",0.6\nmp-3,0.7\n', "line 2, .*quote"),
    ],
)
def test_what_is_no_clear_table_is_refused(rows, text, message):
    with pytest.raises(UserError, match=message):
        rows(text)


def test_a_row_with_a_cell_too_many_is_broken_and_named(rows):
    samples = rows("one,0.5\ntwo,0,6\nmp-3,0.7\n")
    assert [sample.form for sample in samples] == ["cif", "broken", "cif"]
    assert "id_prop.csv, line 2: 3 cells for 2 columns; '6' is beyond" in samples[1].content


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("x.cif", "x"),
        ("x.cif", "x.cif"),
        ("x.CIF", "x"),
        ("x.CIF", "x.CIF"),
        ("x.cif.gz", "x"),
        ("x.cif.gz", "x.cif.gz"),
        ("x.vasp", "x"),
        ("x.vasp", "x.vasp"),
        ("x.poscar", "x"),
        ("x.json", "x"),
    ],
)
def test_an_id_finds_its_file_by_any_suffix(tmp_path: Path, file: str, name: str) -> None:
    form = "poscar" if file.endswith(("vasp", "poscar")) else "json" if file.endswith("json") else "cif"
    text = SALT.to(fmt=form).encode()
    (tmp_path / file).write_bytes(gzip.compress(text) if file.endswith("gz") else text)
    (tmp_path / "id_prop.csv").write_text(f"{name},0.5\nabsent,1\n")
    found, absent = read(tmp_path)
    assert (found.id, found.labels) == (name, {"id": name, "target": "0.5"})
    assert structure(found.form, found.content).composition == SALT.composition
    assert absent.form == "broken"


def test_an_id_of_two_files_is_broken(tmp_path: Path) -> None:
    (tmp_path / "x.vasp").write_text(SALT.to(fmt="poscar"))
    (tmp_path / "x.CIF").write_text(CIF)
    (tmp_path / "id_prop.csv").write_text("x,0.5\ny,1\n")
    assert "x.CIF and x.vasp may both be x" in read(tmp_path)[0].content
