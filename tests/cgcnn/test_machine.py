"""Limits of the system are named when an error comes from one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cgcnn.machine import limit_hit


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "no more files can be opened here (ulimit -n is "),
        (BlockingIOError(errno.EAGAIN, "x"), "no more threads or processes can be started here (ulimit -u is "),
        (MemoryError(), "no more memory can be had here (ulimit -v is "),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no more memory can be had here (ulimit -v is "),
        (RuntimeError("can't start new thread"), "no more threads or processes can be started here (ulimit -u is "),
    ],
)
def test_a_limit_is_named_however_deep_its_error_lies(error, told):
    assert limit_hit(error).startswith(told)
    outer = RuntimeError("Cluster failed to start")
    outer.__cause__ = error
    assert limit_hit(outer).startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [300_000, 450_000])
def test_too_little_memory_is_named(kilobytes, tmp_path):
    screen = f"{sys.executable} -m screening perovskites --a Sr --b Ti --x O --out R.zarr --workers 1"
    line = f"ulimit -v {kilobytes}; exec {screen}"
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"no more memory can be had here (ulimit -v is {kilobytes})" in done.stderr.splitlines()[-1]


def test_other_errors_come_from_no_limit():
    assert limit_hit(OSError(errno.ENOENT, "x")) == limit_hit(RuntimeError("x")) == limit_hit(None) == ""
