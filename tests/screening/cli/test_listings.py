"""What commands list and print, and where it goes."""

import csv
import os
import re
import subprocess
import sys

import pytest


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_filters_are_listed_with_meaning_and_source(screen):
    code, stdout, _ = screen("filters")
    assert code == 0
    assert all(name in stdout for name in ("redox=MIN", "exclude=EL,EL,…", "Gaultois", "lanthanides", "tau=4.8"))


def test_what_is_shipped_is_listed(screen):
    code, models, _ = screen("models")
    assert code == 0
    assert re.search(r"castelli +for +Energy above hull of cubic ABX3", models)
    assert re.search(r"error +e_above_hull: MAE 0\.\d+ eV/atom", models)
    assert re.search(r"takes +elements on the sites of cubic-perovskite", models)
    assert re.search(r"hull +Castelli et al\. 2012", models)
    assert max(map(len, models.splitlines())) <= 100
    code, recipes, _ = screen("recipes")
    assert code == 0
    assert "cgcnn train DATA --recipe castelli" in recipes


@pytest.mark.slow
def test_both_commands_answer_as_modules():
    for module in ("screening", "cgcnn"):
        shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
        assert "Usage" in shown.stdout


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "--workers 1 <&- >&- 2>&-"])
def test_results_are_written_though_nobody_reads_what_is_told(tmp_path, model_path, redirect):
    command = f"{sys.executable} -m screening perovskites --a Ca --b Ti --x O --model {model_path}"
    line = f"{command} --out {tmp_path}/R.zarr --csv {tmp_path}/R.csv {redirect}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert (done.returncode, len(rows_of(tmp_path / "R.csv"))) == (0, 1), done.stderr


@pytest.mark.slow
def test_a_table_in_ascii_is_no_error(tmp_path, model_path):
    command = [sys.executable, "-m", "screening", "perovskites", "--a", "Ca", "--b", "Ti", "--x", "O"]
    out = ["--model", str(model_path), "--out", str(tmp_path / "R.zarr")]
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, *out], capture_output=True, check=False, env=ascii_only)
    assert (done.returncode, b"CaTiO3" in done.stdout) == (0, True), done.stderr
