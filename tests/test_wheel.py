"""What users install is the wheel: it must hold all that screening needs, and work away from the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


COMPILES = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    subprocess.run([*PIP, *wheel], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(built):
    """A directory with nothing but the installed wheel."""
    site = built.parent / "site"
    install = ("install", "--no-deps", "--no-compile", "--target", site, built)
    subprocess.run([*PIP, *install], check=True, capture_output=True)
    return site


def run_installed(site, cwd, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-P", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason="no compiler")
def test_a_wheel_for_this_platform_holds_the_kernel_for_every_python(built):
    assert "-py3-none-" in built.name
    assert "any" not in built.name
    assert "cgcnn/network/_template_kernel.so" in zipfile.ZipFile(built).namelist()


@pytest.mark.slow
def test_the_installed_wheel_screens_with_the_shipped_model(installed, tmp_path):
    shown = run_installed(installed, tmp_path, "-c", "import screening; print(screening.__file__)")
    assert Path(shown.stdout.strip()).is_relative_to(installed)
    arguments = ("perovskites", "--elements", "Ca,Sr,Ba,Ti,Zr,Hf,O", "--out", "R.zarr", "--csv", "R.csv")
    run_installed(installed, tmp_path, "-m", "screening", *arguments)
    assert len((tmp_path / "R.csv").read_text().splitlines()) == 10
    run_installed(installed, tmp_path, "-m", "screening", "report", "R.zarr", "-o", "R.html")
    assert "echarts" in (tmp_path / "R.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_wheel_holds_recipes_cluster_files_weights_and_licence(installed, tmp_path):
    assert "castelli" in run_installed(installed, tmp_path, "-m", "screening", "recipes").stdout
    assert "castelli" in run_installed(installed, tmp_path, "-m", "screening", "models").stdout
    assert {path.name for path in (ROOT / "cluster").iterdir()} == {
        path.name for path in (installed / "screening" / "profiles").iterdir()
    }
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))


@pytest.mark.slow
def test_the_wheel_installs_both_commands(installed):
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "screen = screening.cli.commands:main" in entry_points.read_text()
    assert "cgcnn = cgcnn.cli.commands:main" in entry_points.read_text()
