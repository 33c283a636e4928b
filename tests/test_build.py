"""The kernel is compiled where a compiler is, and where none is everything goes on without it."""

import csv
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cgcnn.models.files import load

ROOT = Path(__file__).parent.parent
LIBRARY = "cgcnn/network/_template_kernel.so"


@pytest.fixture
def hook():
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_pure(tmp_path):
    """Also where the checkout has a kernel that was compiled before."""
    wheel = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    environment = {**os.environ, "CXX": "/nowhere/c++"}
    subprocess.run([sys.executable, "-m", "pip", *wheel], check=True, capture_output=True, env=environment)
    (built,) = tmp_path.glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")
    assert LIBRARY not in zipfile.ZipFile(built).namelist()
    site = tmp_path / "site"
    zipfile.ZipFile(built).extractall(site)
    (tmp_path / "sites.csv").write_text("id,A,B,X\nx,Ba,Ti,O\ny,Sr,Zr,O\n")
    screen = ("screening", "list", "sites.csv", "--prototype", "cubic-perovskite", "--no-filter", "--csv", "R.csv")
    predict = ("cgcnn", "predict", "sites.csv", "--model", "castelli", "--csv", "P.csv")
    for command in (screen, predict):
        shown = subprocess.run(
            [sys.executable, "-P", "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stderr.count("the kernel for candidates was not compiled") == 1
    rows = list(csv.DictReader((tmp_path / "P.csv").read_text(encoding="utf-8").splitlines()))
    model = load("castelli").on("cubic-perovskite")
    compiled, _ = model.predict(np.array([[56, 22, 8, 8, 8], [38, 40, 8, 8, 8]], dtype=np.uint8))["e_above_hull"]
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], compiled, atol=1e-5)
    assert len(list(csv.DictReader((tmp_path / "R.csv").read_text(encoding="utf-8").splitlines()))) == 2


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false"])
def test_what_does_not_compile_is_said_once(hook, tmp_path, monkeypatch, capsys, compiler):
    monkeypatch.setenv("CXX", compiler)
    assert hook.compile_kernel(ROOT / hook.SOURCE, tmp_path) is None
    assert capsys.readouterr().err.count("the template kernel was not compiled") == 1


def test_machines_without_known_instructions_have_no_kernel(hook, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hook.platform, "machine", lambda: "riscv64")
    assert hook.compile_kernel(ROOT / hook.SOURCE, tmp_path) is None
    assert "riscv64" in capsys.readouterr().err
