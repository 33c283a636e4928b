"""An output that is an input: refused in one line before anything is computed, and every file as it was."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cgcnn.cli
import screening.cli
from cgcnn.data.overwriting import ALL, Output, refuse_overwriting
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.testing import untrained

CIF = """data_SrTiO3
_cell_length_a 3.905
_cell_length_b 3.905
_cell_length_c 3.905
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_symmetry_equiv_pos_as_xyz
'x,y,z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Sr1 Sr 0 0 0
Ti1 Ti 0.5 0.5 0.5
O1 O 0.5 0.5 0
O2 O 0.5 0 0.5
O3 O 0 0.5 0.5
"""
TRAINED = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O", "N")}
SITES = ("--a", "Sr,Ba", "--b", "Ti", "--x", "O", "--model", "m")
LIST = ("list", "list.csv", "--model", "m")
SCREENS = {
    "the list as CSV": (*LIST, "--csv", "list.csv"),
    "the list by another way": (*LIST, "--csv", "cifs/../list.csv"),
    "a link to the list": (*LIST, "--csv", "soft.csv"),
    "a hard link to the list": (*LIST, "--csv", "hard.csv"),
    "the list beside the CSV, as its failures": ("list", "l.failures.csv", "--model", "m", "--csv", "l.csv"),
    "the list as the run": (*LIST, "--out", "list.csv"),
    "known compounds": (*LIST, "--known", "known.csv", "--csv", "known.csv"),
    "a crystal in a folder of known ones": (*LIST, "--known", "cifs", "--csv", "cifs/one.cif"),
    "states": (*LIST, "--oxidation-states", "states.csv", "--csv", "states.csv"),
    "the model's weights": (*LIST, "--csv", "m.safetensors"),
    "the model's card": (*LIST, "--csv", "m.json"),
    "the profile": (*LIST, "--cluster", "local.toml", "--csv", "local.toml"),
    "the recipe": ("run", "recipe.toml", "--model", "m", "--csv", "recipe.toml"),
    "a structure": ("structures", "cifs/one.cif", "--csv", "cifs/one.cif"),
    "a table in a folder of structures": ("structures", "cifs", "--csv", "cifs/more.csv"),
    "a folder of structures as CIF": ("structures", "cifs", "--cif", "cifs"),
    "a folder of structures by a link, as CIF": ("structures", "cifs", "--cif", "folder"),
    "inside the run to come": ("perovskites", *SITES, "--out", "new.zarr", "--cif", "new.zarr/cif"),
    "inside another run": ("perovskites", *SITES, "--out", "new.zarr", "--csv", "R.zarr/r.csv"),
    "a run inside another": ("perovskites", *SITES, "--out", "R.zarr/new.zarr"),
    "rank: a file of the run": ("rank", "R.zarr", "--csv", "R.zarr/manifest/0000.jsonl"),
    "rank: the run": ("rank", "R.zarr", "--cif", "R.zarr"),
    "rank: an export into the run": ("rank", "R.zarr", "--export", "R.zarr/x.parquet"),
    "rank: known compounds": ("rank", "R.zarr", "--known", "known.csv", "--csv", "known.csv"),
    "rank: known compounds as an export": ("rank", "R.zarr", "--known", "entries.json", "--export", "entries.json"),
    "rank: entries": ("rank", "R.zarr", "--competing-phases", "entries.json", "--export", "entries.json"),
    "rank: a folder of known compounds": ("rank", "R.zarr", "--known", "cifs", "--export", "cifs"),
    "rank: one output twice": ("rank", "R.zarr", "--csv", "x.json", "--export", "x.json"),
    "rank: one folder twice": ("rank", "R.zarr", "--cif", "new", "--export", "new"),
    "rank: the model of the run": ("rank", "R.zarr", "--csv", "m.json"),
    "report: known compounds": ("report", "R.zarr", "--known", "known.csv", "-o", "known.csv"),
    "report: a file of the run": ("report", "R.zarr", "-o", "R.zarr/zarr.json"),
    "explain: inside the run": ("explain", "R.zarr", "-o", "R.zarr"),
    "relax: inside the run": ("relax", "R.zarr", "--out", "R.zarr/relaxed"),
}
PREDICT = ("predict", "cifs", "--model", "m")
EVALUATE = ("evaluate", "data.json", "--model", "m")
TRAINS = {
    "a crystal": ("predict", "cifs/one.cif", "--model", "m", "--csv", "cifs/one.cif"),
    "a crystal of the folder": (*PREDICT, "--csv", "cifs/one.cif"),
    "a table of the folder": (*PREDICT, "--csv", "cifs/more.csv"),
    "the labels of the folder": ("predict", "published", "--model", "m", "--csv", "published/id_prop.csv"),
    "the weights": (*PREDICT, "--csv", "m.safetensors"),
    "the card": (*PREDICT, "--csv", "m.json"),
    "a result": (*EVALUATE, "--csv", "data.json"),
    "figures": (*EVALUATE, "--json", "data.json"),
    "a plot": (*EVALUATE, "--plot", "data.json"),
    "what to measure": (*EVALUATE, "--only", "known.csv", "--csv", "known.csv"),
    "twice": (*EVALUATE, "--csv", "new.csv", "--json", "new.csv"),
    "training: its data": ("train", "data.json", "--target", "e", "-o", "data"),
    "training: data in its own folder": ("train", "deep.training/data.json", "--target", "e", "-o", "deep"),
    "training: its recipe": ("train", "data.json", "--recipe", "d.metrics.json", "-o", "d"),
    "curve: its data": ("learning-curve", "data.csv", "--recipe", "recipe.toml", "--sizes", "9", "-o", "data"),
    "import: the vectors": ("import", "c.pth.tar", "--atom-init", "atom_init.json", "-o", "atom_init"),
    "card: the card": ("card", "m", "--plot", "m.json"),
    "inside a run": (*PREDICT, "--csv", "R.zarr/x.csv"),
}


@pytest.fixture(scope="module")
def laid(tmp_path_factory, command):
    """A folder with all that the commands read, among them a run."""
    folder = tmp_path_factory.mktemp("laid")
    (folder / "list.csv").write_text("A,B,X\nSr,Ti,O\nBa,Zr,O\n")
    shutil.copy(folder / "list.csv", folder / "l.failures.csv")
    (folder / "soft.csv").symlink_to("list.csv")
    (folder / "hard.csv").hardlink_to(folder / "list.csv")
    (folder / "known.csv").write_text("id,formula\na,SrTiO3\n")
    (folder / "states.csv").write_text("element,state\nSr,2\nTi,4\nO,-2\n")
    (folder / "recipe.toml").write_text('kind = "perovskites"\na = "Sr"\nb = "Ti"\nx = "O"\n')
    (folder / "local.toml").write_text('kind = "local"\n')
    for name in ("cifs", "published", "deep.training"):
        (folder / name).mkdir()
    (folder / "folder").symlink_to("cifs")
    (folder / "cifs/one.cif").write_text(CIF)
    (folder / "cifs/more.csv").write_text(f'id,cif\nmine,"{CIF}"\n')
    (folder / "published/a.cif").write_text(CIF)
    (folder / "published/id_prop.csv").write_text("a,1.0\n")
    for name in ("entries.json", "data.json", "data.csv", "deep.training/data.json", "d.metrics.json", "c.pth.tar"):
        (folder / name).write_text(json.dumps([{"id": "a", "e": 1.0}]))
    (folder / "atom_init.json").write_text('{"1": [1.0]}')
    save(untrained(CUBIC_PEROVSKITE, TRAINED), folder / "m")
    assert command(screening.cli, folder, "perovskites", *SITES, "--out", "R.zarr") == 0
    return folder


@pytest.fixture(scope="module")
def command():
    def call(program, folder, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr(sys, "argv", [program.__name__.split(".")[0], *arguments])
            with pytest.raises(SystemExit) as end:
                program.main()
        return end.value.code

    return call


def contents(folder):
    """Name -> digest of all files, and the names of folders."""
    found = {path: path.is_file() and hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*")}
    return {str(path.relative_to(folder)): digest for path, digest in found.items()}


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        *(pytest.param(screening.cli, line, id=f"screen, {name}") for name, line in SCREENS.items()),
        *(pytest.param(cgcnn.cli, line, id=f"cgcnn, {name}") for name, line in TRAINS.items()),
    ],
)
def test_an_output_that_is_an_input_is_refused(program, arguments, laid, command, capfd):
    before = contents(laid)
    code = command(program, laid, *arguments)
    said = capfd.readouterr().err
    assert code == 1, said
    assert said.count("\n") == 1
    assert any(word in said for word in ("would overwrite", "lies in", "is the same file", "is also")), said
    assert contents(laid) == before


def test_outputs_of_last_time_are_written_again(laid, command):
    for _ in range(2):
        for line in (
            ("rank", "R.zarr", "--csv", "out.csv", "--cif", "ranked", "--export", "best.json"),
            ("rank", "R.zarr", "--csv", "/dev/null", "--export", "best.json"),
            ("report", "R.zarr", "-o", "r.html"),
        ):
            assert command(screening.cli, laid, *line) == 0
    predicted = Output("csv", laid / "cifs/predicted.csv")
    predicted.path.write_text("id,prediction\none,1.0\n")
    refuse_overwriting([laid / "cifs"], [predicted])
    for name in ("out.csv", "best.json", "cifs/predicted.csv", "r.html"):
        (laid / name).unlink()
    shutil.rmtree(laid / "ranked")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_redirected_onto_an_input_is_refused(stream, laid):
    known = laid / "known.csv"
    before, errors = known.read_bytes(), laid / "errors"
    with known.open("ab") as onto, errors.open("wb") as log:
        line = [sys.executable, "-m", "screening", "rank", "R.zarr", "--known", "known.csv", "--format", "csv"]
        streams = {"stdout": onto, "stderr": log} if stream == "stdout" else {"stdout": log, "stderr": onto}
        code = subprocess.run(line, cwd=laid, check=False, **streams).returncode
    assert code == 1
    text = (known if stream == "stderr" else errors).read_text()
    assert f"{stream}: goes to known.csv, which is an input" in text
    assert known.read_bytes().removeprefix(before) == (b"" if stream == "stdout" else text.encode()[len(before) :])
    known.write_bytes(before)
    errors.unlink()


def test_names_that_differ_in_case_are_one_where_the_system_says_so(tmp_path, monkeypatch):
    one, other = Output("csv", tmp_path / "Out.csv"), Output("export", tmp_path / "out.csv")
    refuse_overwriting([], [one, other])  # two files here
    monkeypatch.setattr(Path, "samefile", lambda *_: True)  # as on macOS and Windows
    with pytest.raises(UserError, match="is also"):
        refuse_overwriting([], [one, other])


def test_what_has_nothing_to_do_with_an_input_is_let_be(tmp_path):
    (tmp_path / "in.csv").write_text("A,B,X\n")
    (tmp_path / "notes.txt").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    outputs = [
        Output("csv", tmp_path / "fifo"),
        Output("cif", tmp_path, ("*.cif",)),
        Output("out", tmp_path / "R", (ALL,)),
    ]
    refuse_overwriting([tmp_path / "in.csv", tmp_path, None, "castelli", "s3://x/y", "\x00"], outputs)
    refuse_overwriting([tmp_path], [Output("json", tmp_path / "notes.txt")])
