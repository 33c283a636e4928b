"""Shared machines: who may talk to workers, whose folders they use, and what limits and odd settings end in."""

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
from screening.cluster import choose, limits, preflight
from screening.cluster.local import local_workers
from screening.cluster.scratch import private_folder, private_scratch
from screening.cluster.signals import started, uninterrupted
from screening.cluster.slurm_environment import counted
from screening.cluster.tls import certificates, in_memory
from screening.cluster.worker import command
from screening.engine import pipeline
from screening.engine.block import Block
from screening.engine.notice import Notice
from screening.store import Target

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def force():
    with local_workers(1, 0) as force:
        force.client.wait_for_workers(1)
        yield force


def test_a_local_scheduler_turns_away_whoever_has_not_its_certificate(force):
    address = force.client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    workers = list(force.client.scheduler_info()["workers"])
    assert all(worker.startswith("tls://127.0.0.1:") for worker in workers)
    for where in (address, *workers):
        for stranger in (where.replace("tls://", "tcp://"), where):
            security = in_memory() if stranger == where else None
            with pytest.raises((OSError, RuntimeError, TypeError)):
                Client(stranger, security=security, timeout=1).close()
    assert force.client.submit(os.getpid).result() != os.getpid()


def test_nothing_of_a_local_cluster_listens_beyond_loopback_or_tells_anything(force):
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {c.laddr for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} == {"127.0.0.1"}
    port = force.client.scheduler_info()["services"].get("dashboard")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as asked:
        asked.sendall(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
        answer = asked.recv(1000)
    assert b"404" in answer.splitlines()[0]


def test_no_key_of_a_local_cluster_is_in_a_file_an_environment_or_a_command(force):
    for process in psutil.Process().children(recursive=True):
        seen = Path(f"/proc/{process.pid}/environ").read_bytes() + Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert b"PRIVATE KEY" not in seen
    folder = Path(force.client.run(lambda dask_worker: dask_worker.local_directory).popitem()[1])
    own = next(parent for parent in folder.parents if parent.name.startswith("screen-"))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path):
    mine = private_folder(tmp_path)
    assert private_folder(tmp_path) == mine
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700
    mine.chmod(0o777)
    other = private_folder(tmp_path)
    assert other != mine
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    mine.rmdir()
    (tmp_path / "elsewhere").mkdir()
    mine.symlink_to(tmp_path / "elsewhere")
    assert private_folder(tmp_path) not in {mine, tmp_path / "elsewhere"}
    with pytest.raises(UserError, match="No such file or directory"):
        private_folder(tmp_path / "none")


def test_a_worker_of_a_step_has_the_number_of_its_task_in_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "7")
    words = command(str(tmp_path), "build-%t", "tls://1.2.3.4:5", "--nthreads", "1")
    assert words[words.index("--name") + 1] == "build-7"
    assert words[words.index("--local-directory") + 1] == str(tmp_path / f"screen-{os.getuid()}")


@pytest.mark.slow
def test_certificates_of_killed_clients_are_swept_at_the_next_start(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from screening.cluster.tls import certificates\n"
        "with certificates(Path(sys.argv[1])):\n    print('up', flush=True)\n    time.sleep(60)"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as killed:
        assert killed.stdout.readline() == b"up\n"
        (left,) = tmp_path.iterdir()
        with certificates(tmp_path):
            assert left.exists()  # its owner lives
        killed.send_signal(signal.SIGKILL)
    assert left.exists()
    (tmp_path / ".tls-of-another-program").mkdir()
    with certificates(tmp_path):
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".tls-of-another-program"]


def test_when_nothing_ends_for_long_it_is_said_what_is_waited_for(force, monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", 1.0)
    monkeypatch.setattr(pipeline, "HEALTH", 0.2)
    monkeypatch.setattr(pipeline, "screen_block", lambda *_: time.sleep(30))
    notice = Notice()

    class Stop(Exception):  # noqa: N818  # no error
        pass

    class Handler(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())
            notice.came = time.monotonic() - 1000

    said: list[str] = []
    handler = Handler()
    pipeline.log.addHandler(handler)
    try:
        assert not list(pipeline.screen_blocks(force, Target("none", ""), [Block(3, 0, 1)], notice))
    finally:
        pipeline.log.removeHandler(handler)
    assert re.fullmatch(r"waiting for block 3, none ended for \d s: 1 workers are there; the most silent, .*", said[0])


PROFILE = 'kind = "slurm"\n[builders]\ncount = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROFILE + 'memory = "abc"', 'builders.memory: not an amount of memory; write such as "4GB"'),
        (PROFILE + 'memory = "0GB"', "builders.memory: not an amount of memory"),
        (PROFILE + 'memory = "4"', "builders.memory: not an amount of memory"),
        (PROFILE + 'walltime = "soon"', "builders.walltime: walltime soon: not a time limit"),
        (PROFILE + 'partition = "a\\nb"', "builders.partition: must be one line of printable text"),
        (PROFILE + 'partition = ""', "builders.partition: must be one line"),
        (PROFILE + "cpus = 0", "builders.cpus: Input should be greater than or equal to 1"),
        (PROFILE + "cpus = [1]", "builders.cpus: Input should be a valid integer"),
        ('kind = "slurm"\n[builders]\ncount = 1000000000', "builders.count: Input should be less than"),
        ('kind = "slurm"\n[builders]\ncount = -1', "builders.count: Input should be greater than"),
        ('kind = "slurm"', "builders: Field required"),
        ('kind = "slurm"\nbuilders = 3', "builders: Input should be a valid"),
        ("x = " + "[" * 100_000, "not a TOML file"),
        ('kind = "slurm"\ninterface = "nonsense0"\n[builders]\ncount = 1', "interface nonsense0: not on this machine"),
        ('kind = "slurm"\n[builders]\ncount = 0', "asks for no job"),
    ],
)
def test_odd_values_of_a_profile_are_named(tmp_path, text, message):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        preflight(choose(str(path), None))
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1.5", "4(x2)", "٣", "9" * 5000])
def test_odd_variables_of_slurm_are_named(monkeypatch, text):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", text)
    with pytest.raises(UserError, match=r"SLURM_NTASKS: .* is no number above 0"):
        preflight(choose("heterogeneous", None))
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert counted("SLURM_NTASKS") == 4


@pytest.mark.parametrize("content", ["[]", "{}", "1", "x", "[" * 100_000, '{"address": {}}'])
def test_odd_scheduler_files_are_one_line(tmp_path, content):
    file = tmp_path / "scheduler.json"
    file.write_text(content)
    with pytest.raises(UserError, match=r"not a file that a scheduler wrote|not encrypted"):
        preflight(choose(str(file), None))


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
    limits.make_room(4)
    assert asked == [(88, 4096)]


def test_no_threads_left_is_named():
    with (
        pytest.raises(UserError, match=r"no more threads or processes can be started here \(ulimit -u is"),
        limits.not_startable(),
    ):
        raise RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError, match="else"), limits.not_startable():
        raise RuntimeError("something else")


HOSTILE = """
import json, os, sys
from pathlib import Path
from screening.cluster.local import local_workers

if __name__ == "__main__":
    with local_workers(1, 0) as force:
        force.client.wait_for_workers(1)
        paths = {"client": sys.path, **force.client.run(lambda: __import__("sys").path)}
    print(json.dumps(paths))
"""


@pytest.mark.slow
def test_what_others_put_into_the_folder_for_temporary_files_is_never_imported_or_waited_for(tmp_path):
    there = tmp_path / "temporary" / "dask-scratch-space"
    there.mkdir(parents=True)
    (tmp_path / "temporary").chmod(0o1777)
    (there / "gilknocker.py").write_text("raise SystemExit('imported')")
    for name in ("global.lock", "purge.lock"):
        os.mkfifo(there / name)
    before = sorted(there.iterdir())
    (tmp_path / "start.py").write_text(HOSTILE)
    ended = subprocess.run(
        [sys.executable, "start.py"], cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert sorted(there.iterdir()) == before
    paths = json.loads(ended.stdout)
    assert len(paths) == 2
    for path in (Path(path) for some in paths.values() for path in some):
        assert there not in {path, *path.parents}
    assert list((tmp_path / "temporary").iterdir()) == [there]  # our own is gone


def test_a_folder_in_which_others_can_rename_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert tmp_path / "cache" in private_folder(shared).parents
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    with private_scratch() as scratch:
        assert tmp_path / "cache" in scratch.parents
        assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
    assert not scratch.exists()
    shared.chmod(0o1777)  # sticky: only owners rename
    assert private_folder(shared).parent == shared


def interrupted(number, stuck):
    """A start that is stuck, while a signal comes."""
    with uninterrupted() as came:
        os.kill(os.getpid(), number)
        started(stuck.wait, came)


def test_a_start_that_takes_too_long_is_given_up(monkeypatch):
    stuck = threading.Event()
    with pytest.raises(UserError, match=r"did not start within 0\.2 s"):
        started(stuck.wait, lambda: False, 0.2)
    monkeypatch.setattr("screening.cluster.signals.PATIENCE", 0.2)
    for number in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            interrupted(number, stuck)
    stuck.set()
    assert started(lambda: 7, lambda: False) == 7
    with pytest.raises(UserError, match="no"):
        started(lambda: (_ for _ in ()).throw(UserError("no")).__next__(), lambda: False)
