"""Every format is read, in order, with its labels; what is broken is named."""

import gzip
import json
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.data.crystal import structure
from cgcnn.data.read import read, skipped, stream
from cgcnn.data.samples import Sample, from_record
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.inference.evaluate import listed_in

NAMES = ["second", "first", "third"]


@pytest.fixture(scope="module")
def crystals() -> dict[str, Structure]:
    salts = zip(NAMES, [("Na", "Cl", 3.6), ("K", "Br", 4.1), ("Mg", "O", 2.8)], strict=True)
    return {name: Structure(Lattice.cubic(a), [m, x], HALVES) for name, (m, x, a) in salts}


HALVES = [[0, 0, 0], [0.5, 0.5, 0.5]]


def parsed(samples: list[Sample]) -> dict[str, Structure]:
    return {sample.id: structure(sample.form, sample.content) for sample in samples}


def same(found: dict[str, Structure], expected: dict[str, Structure]) -> bool:
    def distances(crystal: Structure) -> np.ndarray:
        return np.sort(crystal.distance_matrix.ravel())

    return list(found) == list(expected) and all(
        found[name].composition == crystal.composition
        and np.allclose(distances(found[name]), distances(crystal), atol=1e-4)
        for name, crystal in expected.items()
    )


def record(name: str, crystal: Structure) -> dict:
    cell = [*crystal.lattice.abc, *crystal.lattice.angles]
    species = [site.specie.symbol for site in crystal]
    return {"id": name, "energy": len(name), "cell": cell, "species": species, "frac": crystal.frac_coords.tolist()}


def write_cifs(folder: Path, crystals: dict[str, Structure]) -> None:
    for name, crystal in crystals.items():
        crystal.to(filename=str(folder / f"{name}.cif"))


def test_cgcnn_directory_keeps_the_order_of_its_table(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    write_cifs(tmp_path, crystals)
    (tmp_path / "atom_init.json").write_text("{}")
    (tmp_path / "id_prop.csv").write_text("".join(f"{name},{i}.5\n" for i, name in enumerate(crystals)))
    samples = read(tmp_path)
    assert same(parsed(samples), crystals)
    assert [sample.labels["target"] for sample in samples] == ["0.5", "1.5", "2.5"]


@pytest.mark.parametrize(
    ("table", "labels"),
    [
        ("second\nfirst\nthird\n", {"id": "second"}),
        ("\ufeffsecond, 1, 2\n\nfirst,3,4\nthird,5,\n", {"id": "second", "target": "1", "target_2": "2"}),
        ("name,gap,fold\nsecond,1,0\nfirst,2,1\nthird,,1\n", {"id": "second", "gap": "1", "fold": "0"}),
    ],
)
def test_cgcnn_table_may_have_no_target_or_several_or_a_header(
    tmp_path: Path, crystals: dict[str, Structure], table: str, labels: dict[str, str]
) -> None:
    write_cifs(tmp_path, crystals)
    (tmp_path / "id_prop.csv").write_text(table, encoding="utf-8")
    samples = read(tmp_path)
    assert [sample.id for sample in samples] == NAMES
    assert samples[0].labels == labels


def test_missing_cif_of_a_cgcnn_table_is_a_broken_sample(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    write_cifs(tmp_path, crystals)
    (tmp_path / "id_prop.csv").write_text("second,1\nabsent,2\nfirst,3\n")
    samples = read(tmp_path)
    assert [sample.form for sample in samples] == ["cif", "broken", "cif"]
    with pytest.raises(UserError, match=r"absent\.cif"):
        structure(samples[1].form, samples[1].content)


def test_directory_of_files_is_read_by_name(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    crystals["second"].to(filename=str(tmp_path / "second.cif"))
    crystals["first"].to(filename=str(tmp_path / "first.vasp"), fmt="poscar")
    (tmp_path / "third.json").write_text(crystals["third"].to_json())
    (tmp_path / "notes.txt").write_text("not a crystal")
    (tmp_path / "zzz.json").write_text("{oops")
    samples = read(tmp_path)
    assert [sample.id for sample in samples] == ["first", "second", "third", "zzz"]
    assert samples[3].form == "broken"
    assert same(parsed(samples[:3]), {name: crystals[name] for name in sorted(crystals)})


@pytest.mark.parametrize("name", ["first.cif", "first.cif.gz", "POSCAR", "CONTCAR.xz", "first.poscar", "first.json"])
def test_single_file_is_named_by_its_stem(tmp_path: Path, crystals: dict[str, Structure], name: str) -> None:
    crystal = crystals["first"]
    bare = name.removesuffix(".gz").removesuffix(".xz")
    form = {"cif": "cif", "json": "json"}.get(bare.rpartition(".")[2], "poscar")
    text = crystal.to(fmt=form).encode()
    compress = {"gz": gzip.compress, "xz": lzma.compress}.get(name.rpartition(".")[2], bytes)
    (tmp_path / name).write_bytes(compress(text))
    assert same(parsed(read(tmp_path / name)), {bare.partition(".")[0]: crystal})


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
@pytest.mark.parametrize("form", ["record", "structure", "cif"])
def test_json_lines_hold_records_structures_or_cifs(
    tmp_path: Path, crystals: dict[str, Structure], suffix: str, form: str
) -> None:
    rows = {
        "record": record,
        "structure": lambda name, crystal: {"material_id": name, "energy": len(name), "structure": crystal.as_dict()},
        "cif": lambda name, crystal: {"id": name, "energy": len(name), "cif": crystal.to(fmt="cif")},
    }[form]
    text = "".join(json.dumps(rows(name, crystal)) + "\n" for name, crystal in crystals.items())
    compress = {".gz": gzip.compress, ".xz": lzma.compress}.get(suffix, bytes)
    (tmp_path / f"data.jsonl{suffix}").write_bytes(compress(text.encode()))
    samples = read(tmp_path / f"data.jsonl{suffix}")
    assert same(parsed(samples), crystals)
    assert [sample.labels["energy"] for sample in samples] == [6, 5, 5]


def test_csv_with_a_cif_column(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    import csv

    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "CIF", "gap"])
        writer.writerows(
            [name, crystal.to(fmt="cif") + "# " + "x" * 200_000, "1.5"] for name, crystal in crystals.items()
        )
    samples = read(tmp_path / "data.csv")
    assert same(parsed(samples), crystals)
    assert samples[0].labels["gap"] == "1.5"


def test_csv_with_site_columns_is_for_prototype_models(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("A,B,X\nBa,Ti,O\n")
    (sample,) = read(tmp_path / "data.csv")
    assert (sample.id, sample.labels) == ("0", {"A": "Ba", "B": "Ti", "X": "O"})


@pytest.mark.parametrize("form", ["list", "named", "records"])
def test_pymatgen_json_of_several(tmp_path: Path, crystals: dict[str, Structure], form: str) -> None:
    dictionaries = {name: crystal.as_dict() for name, crystal in crystals.items()}
    content = {
        "list": list(dictionaries.values()),
        "named": dictionaries,
        "records": [{"id": name, "structure": crystal} for name, crystal in dictionaries.items()],
    }[form]
    (tmp_path / "data.json").write_text(json.dumps(content))
    expected = dict(zip("012", crystals.values(), strict=True)) if form == "list" else crystals
    assert same(parsed(read(tmp_path / "data.json")), expected)


def test_matbench_json(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    rows = [[crystal.as_dict(), float(i)] for i, crystal in enumerate(crystals.values())]
    content = {"index": [7, 3, 5], "columns": ["structure", "e_form"], "data": rows}
    (tmp_path / "matbench.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    samples = read(tmp_path / "matbench.json.gz")
    assert same(parsed(samples), dict(zip("735", crystals.values(), strict=True)))
    assert [sample.labels["e_form"] for sample in samples] == [0, 1, 2]


def test_extended_xyz_and_ase_database(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    ase_db, ase_io = pytest.importorskip("ase.db"), pytest.importorskip("ase.io")
    atoms = [crystal.to_ase_atoms(msonable=False) for crystal in crystals.values()]
    for name, one in zip(crystals, atoms, strict=True):
        one.info = {"id": name, "gap": len(name)}
    ase_io.write(tmp_path / "data.extxyz", atoms)
    with ase_db.connect(tmp_path / "data.db") as database:
        for name, one in zip(crystals, atoms, strict=True):
            database.write(one, gap=len(name))
    xyz, database = read(tmp_path / "data.extxyz"), read(tmp_path / "data.db")
    assert same(parsed(xyz), crystals)
    assert same(parsed(database), dict(zip("123", crystals.values(), strict=True)))
    assert [sample.labels["gap"] for sample in xyz] == [sample.labels["gap"] for sample in database] == [6, 5, 5]


def test_molecule_is_a_broken_sample(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0 0 1\nH 0 1 0\n")
    (sample,) = read(tmp_path / "water.xyz")
    assert (sample.id, sample.form) == ("water", "broken")
    assert "not periodic" in sample.content


def test_missing_ase_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.extxyz").write_text("")
    monkeypatch.setitem(__import__("sys").modules, "ase.db", None)
    with pytest.raises(UserError, match=r"perovskite-screening\[ase\]"):
        read(tmp_path / "data.extxyz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.txt", b"", "unknown format"),
        ("data.json", b"{oops", "not JSON"),
        ("data.json", b"3", "neither structures nor records"),
        ("data.json", b'{"a": 1}', "neither structures nor records"),
        ("data.json", b"[]", "no records"),
        ("data.json", b'{"columns": ["a"], "data": [[1, 2]]}', "not a table of Matbench"),
        ("data.json.gz", b"plain", "cannot be read"),
        ("data.jsonl", b"{oops", "line 1"),
        ("data.csv", b"\xff", "no records"),
        ("data.csv", b"", "no records"),
        ("data.db", b"no database", "not readable by ASE"),
    ],
)
def test_file_that_is_no_data_set_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    pytest.importorskip("ase")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_several_paths_follow_each_other_and_one_that_is_damaged_breaks_no_other(
    tmp_path: Path, crystals: dict[str, Structure]
) -> None:
    lines = [json.dumps(record(name, crystal)) for name, crystal in crystals.items()]
    paths = [tmp_path / name for name in ("all.jsonl", "cut.jsonl.gz", "odd.jsonl", "folder")]
    paths[0].write_text("\n".join(lines))
    paths[1].write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode())[:-4])
    paths[2].write_text(f"{lines[0]}\n{{oops\n{lines[1]}\n")
    paths[3].mkdir()
    (paths[3] / "POSCAR").write_text(crystals["first"].to(fmt="poscar"))
    samples = list(stream(paths))
    assert [sample.id for sample in samples if sample.form != "broken"] == [*NAMES, *NAMES, NAMES[0], "POSCAR"]
    assert [sample.id for sample in samples if sample.form == "broken"] == ["cut", "odd"]
    with pytest.raises(UserError, match=r"odd\.jsonl, line 2"):
        list(stream(paths[2:3]))
    with pytest.raises(UserError, match=r"no-such\.cif: no such file"):
        next(stream([paths[0], tmp_path / "no-such.cif"]))


def test_samples_are_read_as_they_are_wanted(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    line = json.dumps(record("first", crystals["first"]))
    (tmp_path / "some.jsonl").write_text(f"{line}\n{line}\n{{oops\n")
    samples = stream([tmp_path / "some.jsonl"])
    assert [next(samples).id, next(samples).id] == ["first", "first"]


def test_directory_without_crystals_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of a known format"):
        read(tmp_path)


RECORD = {"id": "one", "cell": [4.0, 4.0, 4.2, 90.0, 90.0, 90.0], "species": ["Ba", "O"], "frac": HALVES}


@pytest.mark.parametrize(
    "change",
    [
        {"cell": None},
        {"species": None},
        {"frac": None},
        {"species": [], "frac": []},
        {"species": ["Ba"]},
        {"frac": [[math.nan, 0, 0]] * 2},
        {"cell": [0, 4, 4, 90, 90, 90]},
        {"cell": [math.nan] * 6},
        {"cell": "x"},
        {"species": ["Ba", "Xx1?"]},
        {"cif": "no cif"},
        {"structure": {"sites": []}},
        {"structure": '{"sites": 1}'},
    ],
)
def test_impossible_crystal_has_a_reason(change: dict) -> None:
    sample = from_record({**RECORD, **change}, 0)
    with pytest.raises(UserError, match="not a crystal"):
        structure(sample.form, sample.content)


def test_poscar_without_symbols_is_refused() -> None:
    text = "salt\n1.0\n4 0 0\n0 4 0\n0 0 4\n1 1\ndirect\n0 0 0\n0.5 0.5 0.5\n"
    with pytest.raises(UserError, match="element symbols"):
        structure("poscar", text)
    assert structure("poscar", text.replace("\n1 1\n", "\nNa Cl\n1 1\n")).composition.reduced_formula == "NaCl"


def test_samples_can_be_limited_to_those_that_a_table_lists(tmp_path: Path) -> None:
    samples = [Sample(name, {}, "broken", "") for name in ("a", "b", "c")]
    table = tmp_path / "test.csv"
    table.write_text("id,energy\nc,1\na,2\n")
    assert [sample.id for sample in listed_in(table, samples)] == ["a", "c"]
    odd = Sample("=caf\udce9\x1b", {}, "broken", "")
    write_csv(table, ["id"], [[odd.id]])
    assert listed_in(table, [*samples, odd]) == [odd]
    table.write_text("id\nother\n")
    with pytest.raises(UserError, match="none of the 3 crystals"):
        listed_in(table, samples)
    with pytest.raises(UserError, match="cannot be read"):
        listed_in(tmp_path, samples)


LEFT = ["._one.cif", ".DS_Store", "Thumbs.db", "__MACOSX/._one.cif", "__MACOSX/one.cif", "runs/R.zarr/zarr.json"]


def test_what_systems_leave_in_a_folder_is_skipped_and_counted(tmp_path: Path, crystals: dict[str, Structure]) -> None:
    write_cifs(tmp_path, crystals)
    assert skipped([tmp_path]) == ""
    for name in LEFT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("no crystal")
    assert [sample.id for sample in read(tmp_path)] == sorted(crystals)
    assert skipped([tmp_path]).startswith("skipped 4 outputs or hidden files")


@pytest.mark.parametrize(
    "header",
    [
        "rank,index,formula,A,B,X,e_above_hull",
        "index,id,path,reason",
        "id,prediction",
        "id,prediction,std",
        "id,reason",
        "id,gap,gap_prediction",
        "member,epoch,loss,validation_loss",
        "metric,target,value,unit,split,input",
    ],
)
def test_tables_that_these_programs_wrote_are_skipped_beside_others_and_in_folders(
    tmp_path: Path, crystals: dict[str, Structure], header: str
) -> None:
    write_cifs(tmp_path, crystals)
    own = tmp_path / "own.csv"
    write_csv(own, header.split(","), [["x"] * len(header.split(","))])
    assert [sample.id for sample in read(tmp_path)] == sorted(crystals)
    assert str(own) in skipped([tmp_path])
    assert [sample.id for sample in stream(sorted(tmp_path.iterdir()))] == sorted(crystals)
    assert len(read(own)) == 1  # asked for by name


def test_exported_crystals_are_read_only_where_there_is_nothing_else(
    tmp_path: Path, crystals: dict[str, Structure]
) -> None:
    best = tmp_path / "best"
    best.mkdir()
    crystals["first"].to(filename=str(best / "0001-KBr-12.cif"))
    crystals["first"].properties = {"rank": 1, "index": 12}
    (tmp_path / "best.json").write_text(json.dumps([crystals["first"].as_dict()]))
    assert [sample.id for sample in read(tmp_path)] == ["best-0", "0001-KBr-12"]
    crystals["first"].properties = {}
    write_cifs(tmp_path, crystals)
    assert [sample.id for sample in read(tmp_path)] == sorted(crystals)
    assert "skipped 2" in skipped([tmp_path])


def test_a_folder_of_outputs_alone_says_so(tmp_path: Path) -> None:
    write_csv(tmp_path / "own.csv", ["id", "prediction"], [["x", 1]])
    with pytest.raises(UserError, match=r"no file of a known format .*beside 1 outputs or hidden"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("data.csv", "a;b;x;gap\nBa;Ti;O;0,5\n", {"A": "Ba", "B": "Ti", "X": "O", "gap": "0.5"}),
        ("data.csv", "A, B1, B2, X\nCs, Ag, Bi, Br\n", {"A": "Cs", "B": "Ag", "B'": "Bi", "X": "Br"}),
        ("data.tsv", "A site\tB site\tX site\tnote\nBa\tTi\tO\t1,5\n", {"A": "Ba", "B": "Ti", "X": "O", "note": "1.5"}),
        ("data.csv", "A,B,X,a\nBa,Ti,O,4.0\n", {"A": "Ba", "B": "Ti", "X": "O", "a": "4.0"}),
    ],
)
def test_compositions_are_read_with_separators_and_headers_as_published(tmp_path: Path, name, text, labels) -> None:
    (tmp_path / name).write_text(text)
    (sample,) = read(tmp_path / name)
    assert sample.labels == labels


def test_a_row_that_cannot_be_trusted_is_broken_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,A,B,X\n1,Ca,Ti,O\n2,Cs,Ag,Bi,Br\n,,,\n3,Sr,Ti,O\n")
    samples = read(tmp_path / "data.csv")
    assert [sample.form for sample in samples] == ["record", "broken", "record"]
    assert "data.csv, line 3: 5 cells for 4 columns (id,A,B,X); 'Br' is beyond the last" in samples[1].content
