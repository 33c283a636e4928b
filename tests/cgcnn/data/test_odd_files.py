"""Whatever one file holds is that file's failure, told soon and in one line; the others are read."""

import bz2
import gzip
import json
import lzma
import os
import random
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.data import build, limits
from cgcnn.data.build import Builder, Rule
from cgcnn.data.crystal import structure
from cgcnn.data.read import read, stream
from cgcnn.data.samples import Sample
from cgcnn.errors import UserError
from cgcnn.files import printable
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.network.settings import Settings

SALT = Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, [
    [0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
    [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5],
])  # fmt: skip
RULE = Rule.of(Settings(targets=("energy",)))
RECORD = {"cell": [5.64] * 3 + [90.0] * 3, "species": [s.specie.symbol for s in SALT],
          "frac": SALT.frac_coords.tolist()}  # fmt: skip


def outcome(samples: list[Sample]) -> dict[str, str]:
    """For each id ``ok`` or the reason of its failure, which has one line."""
    graphs = Builder(RULE).build(samples)
    found = {s.id: "ok" if isinstance(g, CrystalGraph) else g for s, g in zip(samples, graphs, strict=True)}
    assert len(found) == len(samples)
    assert all("\n" not in reason and 0 < len(reason) < 400 for reason in found.values())
    return found


def beside_salt(folder: Path, name: str, content: str | bytes) -> str:
    """What becomes of a file in a directory with a good one."""
    (folder / "salt.cif").write_text(SALT.to(fmt="cif"))
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = outcome(read(folder))
    assert found.pop("salt") == "ok"
    (reason,) = found.values()
    return reason


def cell(*lengths: float) -> str:
    text = SALT.to(fmt="cif")
    for axis, length in zip("abc", lengths, strict=True):
        text = text.replace(f"_cell_length_{axis}   5.64000000", f"_cell_length_{axis}   {length}")
    return text


NESTED = "[" * 200_000
POSCAR = "salt\n1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64\n{symbols}\n{counts}\ndirect\n0 0 0\n0.5 0.5 0.5\n"


CROWD = "crowd\n1.0\n11 0 0\n0 11 0\n0 0 11\nNa\n9261\ndirect\n" + "".join(
    f"{x / 21} {y / 21} {z / 21}\n" for x in range(21) for y in range(21) for z in range(21)
)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("huge.cif", cell(1e8, 1e8, 1e8), "lengths"),
        ("tiny.cif", cell(0.001, 0.001, 0.001), "lengths"),
        ("full.cif", cell(0.4, 0.4, 0.4), "apart"),
        ("long.cif", cell(1999, 1999, 1999), "neighbours within"),
        ("POSCAR", POSCAR.format(symbols="Na Cl", counts="1 1").replace("5.64 0 0\n0 5.64 0", "2000 0 0\n1999 0.003 0"),
         "too flat"),
        ("CONTCAR", CROWD, "apart"),
        ("nested.json", NESTED, "JSON|nested"),
        ("nested.json", '{"a": ' * 100_000, "JSON|nested"),
        ("nested.jsonl", NESTED, "JSON|nested"),
        ("digits.json", "9" * 5_000, "not JSON"),
        ("digits.jsonl", "9" * 5_000, "not JSON"),
        ("count.xyz", "1000000000\n\nH 0 0 0\n", "1000000000"),
        ("count.xyz", "9" * 5_000 + "\n\nH 0 0 0\n", "atoms"),
        ("cut.xyz", "8\n\nH 0 0 0\n", "the file ends before"),
        ("negative.xyz", "-1\n\n", "'-1' atoms"),
        ("POSCAR", POSCAR.format(symbols="Na Cl", counts="1000000000 1"), "atoms in a cell"),
        ("POSCAR", POSCAR.format(symbols="Na Cl", counts="500 1"), "501 atoms in 10 lines"),
        ("POSCAR", POSCAR.format(symbols="Na T", counts="1 1"), "'T' is not an element"),
        ("POSCAR", POSCAR.format(symbols="Na Xx", counts="1 1"), "'Xx' is not an element"),
        ("POSCAR", POSCAR.format(symbols="Na 0", counts="1 1"), "element"),
        ("many.json", json.dumps({"sites": [{}] * 10_001, "lattice": {}}), "10,001 atoms"),
        ("many.json", json.dumps([{**RECORD, "species": ["H"] * 70_000}]), "70,000 atoms"),
        ("empty.cif", "", "expected a CIF"),
        ("zeros.cif", b"\0" * 1000, "expected a CIF"),
        ("empty.json", "", "not JSON"),
        ("empty.csv", "", "no records"),
        ("empty.xyz", "", "no records"),
        ("empty.cif.gz", b"", "cannot be read|expected a CIF"),
        ("plain.cif.gz", b"plain", "cannot be read"),
        ("folder.db", b"\0" * 5000, "not readable"),
    ],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_a_pathological_file_is_one_failed_row(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    pytest.importorskip("ase")
    found = beside_salt(tmp_path, name, content)
    assert any(part in found for part in reason.split("|")), found


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
@pytest.mark.parametrize("kind", [".cif", ".jsonl", ".json", ".csv", ".xyz"])
def test_a_decompression_bomb_is_one_failed_row(
    tmp_path: Path, kind: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ase")
    monkeypatch.setattr(limits, "_FREE", 2**20)
    compress = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[suffix]
    content = b'{"a": "' + b"0" * 2**25
    assert "times its size" in beside_salt(tmp_path, f"bomb{kind}{suffix}", compress(content))


@pytest.mark.parametrize("kind", [".cif", ".jsonl", ".csv"])
def test_what_is_longer_than_any_crystal_is_one_failed_row(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CRYSTAL", 2**20)
    assert "million characters" in beside_salt(tmp_path, f"long{kind}", "x" * (2**20 + 1))


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.cif")
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "nowhere.cif").symlink_to(tmp_path / "absent")
    (tmp_path / "salt.cif").write_text(SALT.to(fmt="cif"))
    found = outcome(read(tmp_path))
    assert "a broken link" in found["nowhere"]
    assert "not a regular file" in found["pipe"]
    assert "not a regular file" in found["device"]
    assert found["salt"] == "ok"
    for path in (tmp_path / "pipe.cif", tmp_path / "device.json"):
        with pytest.raises(UserError, match="neither a file nor a directory"):
            read(path)
    (tmp_path / "id_prop.csv").write_text("pipe,1\nsalt,2\n")
    assert "not a regular file" in outcome(read(tmp_path))["pipe"]


def test_a_cell_that_does_not_fit_into_memory_is_one_failed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graph(self: Rule, crystal: Structure) -> CrystalGraph:
        if crystal.composition.reduced_formula == "KCl":
            raise MemoryError
        return original(self, crystal)

    original = Rule.graph
    monkeypatch.setattr(build.Rule, "graph", graph)
    other = SALT.copy()
    other.replace_species({"Na": "K"})
    assert "memory" in beside_salt(tmp_path, "other.cif", other.to(fmt="cif"))


def test_files_and_ids_that_are_not_utf_8_are_carried_through(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / f"{name}.cif").write_text(SALT.to(fmt="cif"))
    table = b"id,gap\n" + b"caf\xe9,1\n"
    (sample,) = read(tmp_path)
    assert sample.id == name
    (tmp_path / "id_prop.csv").write_bytes(table)
    (sample,) = read(tmp_path)
    assert (sample.id, sample.form, sample.labels["gap"]) == ("caf\u00e9", "cif", "1")
    (tmp_path / "data.jsonl").write_bytes(json.dumps({"id": "ID", **RECORD}).encode().replace(b"ID", b"caf\xe9"))
    (tmp_path / "data.json").write_bytes(json.dumps([{"id": "ID", **RECORD}]).encode().replace(b"ID", b"caf\xe9"))
    for file in ("data.jsonl", "data.json"):
        (sample,) = read(tmp_path / file)
        assert outcome([sample]) == {name: "ok"}
        assert printable(sample.id) == r"caf\xe9"


def test_subdirectories_are_read_and_ids_are_unique(tmp_path: Path) -> None:
    for folder in ("one", "two", "two/deep", ".hidden", "table"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "POSCAR").write_text(SALT.to(fmt="poscar"))
    (tmp_path / "two" / "salt.cif").write_text(SALT.to(fmt="cif"))
    (tmp_path / "table" / "x.cif").write_text(SALT.to(fmt="cif"))
    (tmp_path / "table" / "id_prop.csv").write_text("x,1\n")
    (tmp_path / "two" / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "data.jsonl").write_text(f"{json.dumps(RECORD)}\n{json.dumps({'id': 'own', **RECORD})}\n")
    samples = read(tmp_path)
    paths = {sample.id: Path(sample.path).as_posix() for sample in samples}
    assert paths == {
        "data-0": "data.jsonl", "own": "data.jsonl", "one/POSCAR": "one/POSCAR", "x": "table/x.cif",
        "two/POSCAR": "two/POSCAR", "salt": "two/salt.cif", "two/deep/POSCAR": "two/deep/POSCAR",
    }  # fmt: skip
    assert list(paths) == [sample.id for sample in samples]
    assert set(outcome(samples).values()) == {"ok"}
    (tmp_path / "two" / "deep" / "loop").unlink()
    twice = list(stream([tmp_path / "one", tmp_path / "two"]))
    assert [s.id for s in twice] == [str(tmp_path / "one/POSCAR"), str(tmp_path / "two/POSCAR"), "salt", "deep/POSCAR"]


def test_two_data_blocks_of_a_cif_have_numbered_ids(tmp_path: Path) -> None:
    text = SALT.to(fmt="cif")
    (tmp_path / "pair.cif").write_text(text + text.replace("Cl", "F"))
    samples = read(tmp_path / "pair.cif")
    assert outcome(samples) == {"pair-1": "ok", "pair-2": "ok"}
    assert [structure(s.form, s.content).composition.reduced_formula for s in samples] == ["NaCl", "NaF"]


ODD: list[Any] = [None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), "", "x", "0", "Na", "\0", [], [[]], {},
                  {"a": []}, [None], [1, 2], "\ud800", [[1e308] * 3] * 8, ["-Na"] * 8, [{"Na": 0}] * 8]  # fmt: skip


def mistyped(chance: random.Random, item: Any, depth: int = 0) -> Any:
    """The item with a part of it replaced by something odd, or left out."""
    if not (isinstance(item, (dict, list)) and item) or chance.random() < 0.15 * depth:
        return chance.choice(ODD)
    copy = dict(item) if isinstance(item, dict) else list(item)
    key = chance.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
    if chance.random() < 0.1:
        del copy[key]
    else:
        copy[key] = mistyped(chance, copy[key], depth + 1)
    return copy


@pytest.mark.parametrize("form", ["record", "pymatgen", "matbench", "named"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.timeout(120)
def test_mistyped_json_is_failed_rows_or_one_clear_line(tmp_path: Path, form: str, suffix: str) -> None:
    chance = random.Random(f"{form}{suffix}")  # noqa: S311  # a draw of tests
    dictionary = json.loads(SALT.to_json())
    good: Any = {
        "record": {"id": "r", **RECORD},
        "pymatgen": dictionary,
        "matbench": {"index": [1], "columns": ["structure", "gap"], "data": [[dictionary, 1.0]]},
        "named": {"salt": dictionary},
    }[form]
    for _ in range(60):
        (tmp_path / f"odd{suffix}").write_text(json.dumps(mistyped(chance, good)))
        try:
            samples = read(tmp_path / f"odd{suffix}")
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  # either is right
            continue
        for sample in samples:
            outcome([sample])
