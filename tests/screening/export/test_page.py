"""What the page on exports shows must run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from screening.cli.commands import app

PAGE = (Path(__file__).parents[3] / "docs/exports.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_run_one_after_the_other(tmp_path):
    blocks = re.findall(r"(<!-- not run -->\n)?```python\n(.*?)```", PAGE, re.DOTALL)
    assert [bool(skipped) for skipped, _ in blocks] == [False, False, True, True, True, False]
    code = "\n".join(code for skipped, code in blocks if not skipped)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert len(re.findall(r"^\w+O3 a0a0a0 5 ", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"^\w+O3 a-b\+a- 20 ", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"\('Pnma', 62\)", done.stdout)) == 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_worked_example_runs_at_small_size(tmp_path, monkeypatch):
    pytest.importorskip("chgnet")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```sh\n(screen perovskites.*?)```", PAGE, re.DOTALL)
    for line in block.replace("--top 10", "--top 1").splitlines():
        command = line.split()[1:]
        few = ["--tilts", "a-a-a-", "--fmax", "0.5", "--workers", "1"] if command[0] == "relax" else []
        assert CliRunner(catch_exceptions=False).invoke(app, [*command, *few]).exit_code == 0
    assert len(list((tmp_path / "starts").glob("*.cif"))) == 2
    assert len(list((tmp_path / "oxides-relaxed/cif").glob("*.cif"))) == 1


def test_every_format_is_on_the_page():
    from screening.export import BY_SUFFIX, FOLDERS

    for name in (*BY_SUFFIX, *FOLDERS):
        assert name == ".xyz" or f"FILE{name}" in PAGE or f"--as {name}" in PAGE or name == "cif"


def test_every_tilt_system_is_on_the_page():
    from cgcnn.graphs.tilts import SYSTEMS

    assert re.findall(r"^\| `(a\S{5})` ", PAGE, re.MULTILINE) == list(SYSTEMS)
