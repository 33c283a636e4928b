"""Input that is wrong, odd or hostile ends in one clear line, or in plain text."""

import csv
import json
import re

import pytest

from cgcnn.cli.options import plain
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("perovskites", "--elements", "Xx,O"), "'Xx' is not the symbol of an element"),
        (("perovskites", "--elements", "Ca,O"), "no element fits site B"),
        (("perovskites",), "name either --elements"),
        (("perovskites", "--elements", "Ca,Ti,O", "--out", "{tmp}/no/such/R.zarr"), "there is no directory"),
        (("perovskites", "--elements", "Ca,Ti,O", "--csv", "{tmp}/no/R.csv"), "--csv .* there is no directory"),
        (("perovskites", "--elements", "Ca,Ti,O", "--model", "{tmp}/not-a-model.safetensors"), "model"),
        (("perovskites", "--elements", "Ca,Ti,O", "--model", "nonesuch"), "nonesuch: no such model"),
        (("perovskites", "--elements", "Ca,Ti,O", "--filter", "beauty"), "there is no filter 'beauty'"),
        (("perovskites", "--elements", "Ca,Ti,O", "--sort", "beauty"), "--sort beauty: no such column"),
        (("double-perovskites", "--a", "Ca", "--b", "Ti", "--x", "O"), "Only Ti for B and B'"),
        (("double-perovskites", "--elements", "Ca,Ti,O"), "no two elements fit B and B'"),
        (
            ("double-perovskites", "--a", "Ca", "--b", "Ti,Zr", "--x", "O", "--model", "castelli"),
            "--model castelli: trained for cubic-perovskite; the candidates are double-perovskite",
        ),
        (("list", "{tmp}/nowhere.csv"), "nowhere.csv: No such file"),
        (("perovskites", "--elements", "Ca,Ti,O", "--stable-at", "inf"), "--stable-at: .*finite"),
        (("rank", "{tmp}"), "no run here"),
        (("rank", "{tmp}", "--stable-at", "nan"), "--stable-at nan: not an energy"),
        (("run", "nonesuch"), "nonesuch: no such recipe"),
    ],
)
def test_bad_input_gives_one_clear_line_and_leaves_nothing(screen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-a-model.safetensors").write_bytes(b"not a model")
    before = sorted(tmp_path.rglob("*"))
    code, stdout, stderr = screen(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 1
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert re.fullmatch(f"screen: .*{message}.*\n", stderr)
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_usage_exits_with_2(screen):
    assert screen("perovskites", "--bogus")[0] == 2
    assert screen("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", "--anions", "4")[0] == 2


@pytest.mark.slow
def test_rows_of_a_list_that_are_no_candidates_fail_and_are_all_named(screen, tmp_path, model_path):
    listed, out = tmp_path / "in.csv", ("--out", tmp_path / "L.zarr", "--csv", tmp_path / "L.csv")
    listed.write_text("id,A,B,X,reason\nq1,ba,Ti,O,why\nq2,Xx,Ti,O,\nq3,Ca,,O,\nq4,Ca,Zr,O,\nq5,Ca\n")
    code, promised, _ = screen("list", listed, "--model", model_path, "--dry-run")
    code, stdout, stderr = screen("list", listed, "--model", model_path, *out)
    assert code == 0, stderr
    assert promised in stderr
    assert re.search(r"\n5 candidates\n  ok +2\n  failed +3\n", stderr)
    assert "3 failed, the first is q2: line 3, column A: 'Xx' is not the symbol" in stderr
    assert {row["id"] for row in rows_of(tmp_path / "L.csv")} == {"q1", "q4"}
    failures = rows_of(tmp_path / "L.failures.csv")
    assert [(row["index"], row["id"]) for row in failures] == [("1", "q2"), ("2", "q3"), ("4", "q5")]
    assert [row["reason"][:6] for row in failures] == ["line 3", "line 4", "line 6"]
    assert screen("verify", tmp_path / "L.zarr")[0] == 0
    assert "BaTiO3" in stdout
    assert "to do" not in screen("list", listed, "--model", model_path, *out, "--resume")[2]
    code, _, stderr = screen("list", listed, "--model", model_path, "--out", tmp_path / "S.zarr", "--strict")
    assert (code, stderr.count("\n")) == (1, 1)
    assert "in.csv, line 3, column A: 'Xx'" in stderr


HOSTILE = ("\x1b[2J\x1b]0;title\x07", "[red]bold[/red]", "[/2]", "=cmd|' /C calc'!A0", ":smile: \u202e")


@pytest.mark.slow
def test_hostile_texts_are_plain_text_everywhere(screen, tmp_path, model_path):
    lines = "".join(f'"{name}",Ba,Ti,O\n"{name}",Xx,Ti,O\n' for name in HOSTILE)
    (tmp_path / "in.csv").write_text(f"id,A,B,X\n{lines}", encoding="utf-8")
    out = ("--out", tmp_path / "[red]L.zarr", "--csv", tmp_path / "L.csv")
    code, stdout, stderr = screen("list", tmp_path / "in.csv", "--model", model_path, *out)
    assert code == 0, stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(stdout + stderr)
    assert r"\x1b[2J" in stderr
    for name in ("L.csv", "L.failures.csv"):
        ids = [row["id"] for row in rows_of(tmp_path / name)]
        assert len(ids) == 5
        assert not [text for text in ids if text.startswith("=") or "\x1b" in text]


def test_hostile_ids_of_structures_are_shown_as_they_are(screen, tmp_path):
    from cgcnn.graphs.prototype import CUBIC_PEROVSKITE

    crystal = CUBIC_PEROVSKITE.structure([56, 22, 8, 8, 8], 4.0).as_dict()
    records = [{"id": name, "structure": crystal} for name in HOSTILE]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
    model = save(untrained_for_structures(settings), tmp_path / "model")
    out = ("--out", tmp_path / "S.zarr")
    code, stdout, stderr = screen("structures", tmp_path / "some.jsonl", "--model", model, *out)
    assert code == 0, stderr
    assert all(plain(name) in stdout for name in HOSTILE)
    assert "\x1b" not in stdout + stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", ""), "--model: is empty"),
        (("--out", ""), "--out: is empty"),
        (("--share", "1/" + "9" * 5000), "--share 1/9{58}…9+: write K/N"),
        (("--csv", "n" * 300), "File name too long"),
        (("--out", "n" * 300), "File name too long"),
        (("--cif", "n" * 300), "File name too long"),
        (("--model", "n" * 5000), "File name too long"),
        (("--stable-at", "1e999"), "--stable-at: .*finite"),
        (("--sort", "x" * 5000), "no such column"),
        (("--cluster", "n" * 5000), "File name too long"),
    ],
)
def test_odd_values_give_one_clear_line(screen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = screen("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", *arguments)
    assert (code, stdout) == (1, "")
    assert re.search(message, stderr), stderr
    assert "unexpected" not in stderr
    assert len(stderr.splitlines()[-1]) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--a", "Calcium", "--b", "Ti", "--x", "O"), "'Calcium' .* Write the symbol: Ca."),
        (("--a", "MA,FA", "--b", "Pb", "--x", "I"), "'MA' .* Organic cations are not supported yet"),
        (("--a", "Ca Sr", "--b", "Ti", "--x", "O"), "'Ca Sr' .* Separate several by commas: Ca,Sr."),
        (("--a", "Ca2+", "--b", "Ti", "--x", "O"), "'Ca2.' .* Write the symbol: Ca."),
        (("--a", "Cs", "--b", "Pb", "--x", "halides"), "'halides' .* Name the elements: F,Cl,Br,I."),
        (("--elements", "CaO,Ti"), "'CaO' .* not a formula: write Ca, or several with commas: Ca,O."),
        (("--elements", "Ca,Ti,O", "--filter", "exclude=lead"), "exclude.*Write the symbol: Pb."),
    ],
)
def test_names_of_elements_that_are_no_symbols_get_a_hint_that_fits(screen, arguments, hint):
    code, _, stderr = screen("perovskites", *arguments, "--dry-run")
    assert code == 1
    assert re.search(hint, stderr), stderr
