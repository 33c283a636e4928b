"""A ranking on stdout: whole numbers in any width, CSV and JSON for other programs, formulas of chemists."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

import screening
from cgcnn import __version__
from cgcnn.cli.commands import app as library
from cgcnn.elements import SYMBOLS
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.campaign import Advanced
from screening.candidates.space import perovskites
from screening.candidates.texts import formulas
from screening.cli import commands as cli
from screening.cli.progress import Pace
from screening.cli.terminal import columns, fitting

ROW = {
    "rank": "12", "index": "40", "formula": "LaTaON2", "A": "La", "B": "Ta", "X": "O", "e_above_hull": "-0.31104",
    "e_above_hull_std": "0.04087", "p_stable": "0.9871", "in_domain": "true", "a_angstrom": "4.2346",
    "tolerance_factor": "1.0040", "charge_balanced": "false", "radii_imputed": "false", "in_training": "true",
    "domain_distance": "0.731", "states": "La3+ Ta5+ N3- O2-",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path):
    path = tmp_path_factory.mktemp("run") / "R.zarr"
    sites = {"a": "Ca,Sr,La,K", "b": "Ti,Zr,Ta", "x": "O,N", "anions": 2}
    screening.screen("perovskites", **sites, model=str(model_path), out=path)
    return path


@pytest.fixture
def screen(monkeypatch, capfd):
    """Run the command in this process; returns its exit code, stdout and stderr, also of what writes to descriptors."""

    def call(*arguments, name="screen"):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capfd.readouterr()

    return call


def shown(width):
    space = perovskites([57], [73], [7, 8], 1)
    return [column.header for column in fitting(columns(space, 0.05, set(ROW)), [ROW], width)]


def test_less_room_leaves_out_the_least_important_columns_first():
    least = ["rank", "formula", "E_hull (eV/atom)"]
    assert shown(20) == shown(35) == least
    assert shown(50) == [*least, "P(≤0.05)", "a (Å)"]
    assert shown(80) == [*least, "P(≤0.05)", "a (Å)", "t", "flags"]
    assert shown(200) == ["rank", "formula", "A", "B", "X", *shown(80)[2:], "states"]


def test_flags_tell_in_words_what_is_special():
    offered = [column for _, column in columns(perovskites([57], [73], [8]), 0.05, set(ROW))]
    flags = next(column for column in offered if column.header == "flags")
    assert flags.cell(ROW) == "charge, known, anions"
    assert flags.cell(ROW | {"in_domain": "false", "in_training": "false"}) == "outside, charge"
    assert flags.cell(ROW | {"charge_balanced": "true", "in_training": "false", "domain_distance": "0.000"}) == ""


@pytest.mark.parametrize("width", [48, 80, 120])
def test_a_terminal_of_any_width_shows_whole_numbers(run, width):
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(width), "TERM": "xterm"}
    command = [sys.executable, "-m", "screening", "rank", str(run)]
    subprocess.run(command, env=environment, stdout=slave, stderr=subprocess.DEVNULL, check=True)
    os.close(slave)
    text = b""
    while True:
        try:
            text += os.read(master, 65536)
        except OSError:  # all is read
            break
    os.close(master)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()
    assert len(lines) == 21
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    assert all(re.search(r" -?\d\.\d{3} ± \d\.\d{3}", line) for line in lines[1:])


def test_all_columns_with_all_decimals_on_demand(screen, run, tmp_path):
    code, stdout, _ = screen("rank", run, "-v", "--csv", tmp_path / "R.csv")
    assert code == 0
    with (tmp_path / "R.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    head, *lines = stdout.splitlines()
    assert head.split() == list(rows[0])
    assert all(
        row["e_above_hull"] in line and row["a_angstrom"] in line for row, line in zip(rows[:20], lines, strict=True)
    )


def test_csv_and_json_on_stdout_hold_what_the_file_holds(screen, run, tmp_path):
    assert screen("rank", run, "--csv", tmp_path / "R.csv")[0] == 0
    whole = (tmp_path / "R.csv").read_text()
    assert screen("rank", run, "--csv", "-")[1] == whole
    lines = whole.splitlines(keepends=True)
    assert screen("rank", run, "--format", "csv", "--top", 3)[1] == "".join(lines[:4])
    rows = list(csv.DictReader(io.StringIO(whole)))
    found = json.loads(screen("rank", run, "--format", "json")[1])
    assert len(found) == 20
    for record, row in zip(found, rows[:20], strict=True):
        assert list(record) == list(row)
        assert (record["rank"], record["formula"]) == (int(row["rank"]), row["formula"])
        assert record["e_above_hull"] == float(row["e_above_hull"])
        assert record["in_domain"] is (row["in_domain"] == "true")
        assert record["known_e_above_hull"] is None


def test_stdout_is_no_file_that_others_lie_beside(run, tmp_path):
    with (tmp_path / "out.csv").open("w") as stream:
        command = [sys.executable, "-m", "screening", "rank", str(run), "--csv", "-"]
        subprocess.run(command, check=True, stdout=stream, stderr=subprocess.DEVNULL)
    assert (tmp_path / "out.csv").read_text().startswith("rank,index,formula")


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ("La Ta N N O", "LaTaON2"), ("Ba Nb O O N", "BaNbO2N"), ("Sr Fe O O F", "SrFeO2F"),
        ("Cs Pb I I Br", "CsPbI2Br"), ("Ba Ti H O O", "BaTiO2H"), ("Ba Zr S S O", "BaZrOS2"),
        ("Ba Ti O O O", "BaTiO3"), ("La La O O O", "La2O3"), ("Cs Pb Br Br I", "CsPbIBr2"),
        ("Ba Ti F N O", "BaTiONF"), ("Cs Ag Bi Br", "Cs2AgBiBr6"),
    ],
)  # fmt: skip
def test_formulas_are_those_of_chemists(sites, expected):
    species = np.array([[SYMBOLS.index(symbol) for symbol in sites.split()]], dtype=np.uint8)
    prototype = CUBIC_PEROVSKITE if species.shape[1] == 5 else DOUBLE_PEROVSKITE
    assert formulas(prototype.canonical(species), prototype).to_pylist() == [expected]


def test_the_time_to_go_is_right_from_the_first_block_on():
    workers, blocks, seconds, start = 8, 80, 3.0, 12.0
    end = start + blocks / workers * seconds
    for done in range(1, blocks):
        at = start + seconds * -(-done // workers)  # blocks end in rounds of eight
        pace = Pace(Advanced(done, blocks, done * 100, 16, workers, seconds), at, at - start)
        assert pace.left == pytest.approx(end - at, abs=seconds / 2)


def test_both_commands_tell_their_version_and_the_alias_its_name(screen, capfd):
    assert screen("--version")[:2] == (0, f"screen {__version__} (perovskite-screening)\n")
    assert screen("rank", "nowhere", name="/usr/bin/perovscreen")[2].startswith("perovscreen: ")
    library.main(["--version"], prog_name="cgcnn", standalone_mode=False)
    assert capfd.readouterr().out == f"cgcnn {__version__} (perovskite-screening)\n"


@pytest.mark.parametrize("app", [cli.app, library], ids=["screen", "cgcnn"])
@pytest.mark.parametrize("width", [80, 120])
def test_help_cuts_no_sentence(app, width, monkeypatch, capfd):
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((width, 50)))
    app.main(["--help"], standalone_mode=False)
    text = capfd.readouterr().out
    assert "..." not in text.partition("Commands:")[2]
    assert max(map(len, text.splitlines())) in range(width - 20, width)


def test_starts_are_exported_with_the_ranking_that_is_shown(screen, run, tmp_path):
    code, stdout, stderr = screen("rank", run, "--top", 3, "--export", tmp_path / "starts", "--tilts", "a-b+a-,a0a0c-")
    assert (code, stdout.count("\n")) == (0, 4)
    assert f"{tmp_path / 'starts'}: 6 structures written (cif)" in stderr
    assert len(list((tmp_path / "starts").glob("000[123]-*-a-b+a-.cif"))) == 3
    usual = ("--as", "poscar", "--cell", "conventional")
    assert screen("rank", run, "--top", 2, "--export", tmp_path / "p", *usual)[0] == 0
    assert [path.suffix for path in (tmp_path / "p").iterdir()] == [".vasp"] * 2
    assert screen("rank", run, "--tilts", "a-b+a-")[0] == 2
    code, stdout, stderr = screen("rank", run, "--export", tmp_path / "q", "--tilts", "a+b+c+")
    assert (code, stdout) == (1, "")
    assert stderr.startswith("screen: --tilts a+b+c+: no such tilt system")
