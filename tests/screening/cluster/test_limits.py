"""Limits of the system that a cluster runs into."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cgcnn.errors import UserError
from screening.cluster.scheduler import make_room, not_startable

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_too_few_open_files_are_named(tmp_path, model_path):
    words = ("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", "--model", str(model_path), "--workers", "1")
    run = f"ulimit -n 48; exec {sys.executable} -m screening {' '.join(words)} --out R.zarr"
    done = subprocess.run(
        ["bash", "-c", run],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "screen: ulimit -n is 48: 1 workers need 52 open files. Raise it, or ask for fewer --workers." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_low_soft_limit_is_raised(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    make_room(4)
    assert asked == [(88, 4096)]


def test_no_threads_left_is_named():
    with (
        pytest.raises(UserError, match=r"no more threads or processes can be started here \(ulimit -u is"),
        not_startable(),
    ):
        raise RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError, match="else"), not_startable():
        raise RuntimeError("something else")
