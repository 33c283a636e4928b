"""Limits of the system that a cluster runs into."""

import json
import logging
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
import psutil
import pytest
from distributed import Client
from cgcnn.errors import UserError
from cgcnn.machine import forget_working_folder, safe_children
from screening.cluster import choose, preflight
from screening.cluster.scheduler import make_room, not_startable
from screening.cluster.local import local_workers
from screening.cluster.profile import counted, read_profile
from screening.cluster.scheduler import started, uninterrupted
from screening.cluster.security import certificates, in_memory, private_folder, private_scratch
from screening.cluster.slurm import templates
from screening.cluster.worker import command
from screening.engine import pipeline
from screening.engine.block import Block
from screening.engine.pipeline import Notice
from screening.store import Target


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
