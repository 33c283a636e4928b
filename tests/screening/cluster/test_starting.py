"""Starting workers and waiting for them: what takes too long, and what a signal ends."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from cgcnn.errors import UserError
from screening.cluster import flight
from screening.cluster.scheduler import started, uninterrupted
from screening.engine import pipeline
from screening.engine.block import Block
from screening.engine.pipeline import ShutdownRequest
from screening.store import RunReference

ROOT = Path(__file__).parents[3]


def test_when_nothing_ends_for_long_it_is_said_what_is_waited_for(force, monkeypatch):
    monkeypatch.setattr(flight, "PATIENCE", 1.0)
    monkeypatch.setattr(flight, "HEALTH", 0.2)
    monkeypatch.setattr(pipeline, "screen_block", lambda *_: time.sleep(30))
    notice = ShutdownRequest()

    class Stop(Exception):  # noqa: N818  # no error
        pass

    class Handler(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())
            notice.came = time.monotonic() - 1000

    said: list[str] = []
    handler = Handler()
    flight.log.addHandler(handler)
    try:
        assert not list(pipeline.screen_blocks(force, RunReference("none", ""), [Block(3, 0, 1)], notice))
    finally:
        flight.log.removeHandler(handler)
    assert re.fullmatch(r"waiting for block 3, none ended for \d s: 1 workers are there; the most silent, .*", said[0])


def interrupted(number, stuck):
    """A start that is stuck, while a signal comes."""
    with uninterrupted() as came:
        os.kill(os.getpid(), number)
        started(stuck.wait, came)


def test_a_start_that_takes_too_long_is_given_up(monkeypatch):
    stuck = threading.Event()
    with pytest.raises(UserError, match=r"did not start within 0\.2 s"):
        started(stuck.wait, lambda: False, 0.2)
    monkeypatch.setattr("screening.cluster.scheduler.PATIENCE", 0.2)
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            interrupted(number, stuck)
    stuck.set()
    assert started(lambda: 7, lambda: False) == 7
    with pytest.raises(UserError, match="no"):
        started(lambda: (_ for _ in ()).throw(UserError("no")).__next__(), lambda: False)


STUCK = """
import sys, time
import distributed.diskutils
from screening.cluster import scheduler
from cgcnn.errors import UserError
from screening.cluster.local import local_workers

def hang(*_, **__):
    print("hangs", flush=True)
    open(sys.argv[1]).read()  # a FIFO that nobody writes into

scheduler.PATIENCE = 0.5
if len(sys.argv) > 2:
    import screening.cluster.local as local
    local.LIMIT = float(sys.argv[2]) - 1
distributed.diskutils.WorkSpace.new_work_dir = hang
if __name__ == "__main__":
    try:
        with local_workers(1, 0):
            print("up")
    except (KeyboardInterrupt, UserError) as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, None])
def test_a_start_that_hangs_on_a_fifo_ends_by_a_signal_or_after_its_time(tmp_path, how):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "start.py").write_text(STUCK)
    limit = ["1.0"] if how is None else []
    with subprocess.Popen(
        [sys.executable, "start.py", str(tmp_path / "fifo"), *limit], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "hangs\n"
            began = time.monotonic()
            if how is not None:
                process.send_signal(how)
            said, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert time.monotonic() - began < 20
    assert said.startswith("UserError workers did not start within 1 s" if how is None else "KeyboardInterrupt")
    assert not [found for found in psutil.process_iter(["cwd"]) if found.info["cwd"] == str(tmp_path)]
