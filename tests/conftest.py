"""What holds for all tests."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cgcnn.machine import cores

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it: small networks only wait for more threads

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "cgcnn" / "network" / "template_kernel.cpp"


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """As many as there are cores for `-n auto`; more than four only wait for the longest tests."""
    return min(cores(), 4)


def pytest_configure() -> None:
    """Compile the kernel of the checkout, which is what is tested, whatever is installed.

    Commands started here inherit signals that are ignored, as under `nohup`, and would rightly ignore them too.
    """
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    library = SOURCE.with_name("_template_kernel.so")
    if library.exists() and library.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    if any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        subprocess.run([sys.executable, str(ROOT / "hatch_build.py")], check=False)
