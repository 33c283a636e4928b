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
from cgcnn.machine import forget_working_folder, safe_children
from screening.cluster import choose, limits, preflight
from screening.cluster.jobs import templates
from screening.cluster.local import local_workers
from screening.cluster.profile import read_profile
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
from cgcnn.machine import forget_working_folder
forget_working_folder()
from screening.cluster.local import local_workers

if __name__ == "__main__":
    with local_workers(1, 1) as force:
        force.client.wait_for_workers(2)
        paths = {"client": sys.path, **force.client.run(lambda: __import__("sys").path)}
        nannies = force.client.run(lambda: __import__("sys").path, nanny=True)
        paths |= {f"nanny {where}": path for where, path in nannies.items()}
    print(json.dumps(paths))
"""
MARK = "import pathlib; pathlib.Path({!r}).touch()\n"


@pytest.mark.slow
@pytest.mark.parametrize("path", [str(ROOT), f":{ROOT}", f"{ROOT}:"], ids=["PYTHONPATH", "empty first", "empty last"])
def test_what_others_put_into_shared_folders_is_never_imported_or_waited_for(tmp_path, path):
    shared = tmp_path / "temporary"
    there = shared / "dask-scratch-space"
    (there / "scheduler-abc").mkdir(parents=True)
    shared.chmod(0o1777)
    there.chmod(0o777)
    mark = tmp_path / "imported"
    for folder in (there, there / "scheduler-abc", shared):
        (folder / "gilknocker.py").write_text(MARK.format(str(mark)))
    if path == str(ROOT):  # the working folder, too: with an empty entry Python itself looks there before we begin
        for name in ("multiprocessing", "tornado", "msgpack", "pickle", "distributed"):
            (shared / f"{name}.py").write_text(MARK.format(str(mark)))
    for name in ("global.lock", "purge.lock"):
        os.mkfifo(there / name)
    before = sorted(shared.rglob("*"))
    (tmp_path / "start.py").write_text(HOSTILE)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "start.py")], cwd=shared, capture_output=True, text=True, timeout=100,
        check=True, env={**os.environ, "TMPDIR": str(shared), "PYTHONPATH": path},
    )  # fmt: skip
    assert not mark.exists()
    assert sorted(shared.rglob("*")) == before  # our own is gone, and nothing was made in Dask's
    paths = json.loads(ended.stdout.splitlines()[-1])
    assert len(paths) == 5
    for process, folders in paths.items():
        for folder in map(Path, folders):
            assert there not in {folder, *folder.parents}, process
            assert shared != folder, process
            assert str(folder) not in {"", "."}, process


def test_children_do_not_look_into_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    say = [sys.executable, "-c", "import json, os; print(os.environ['PYTHONPATH'])"]
    monkeypatch.setenv("PYTHONPATH", f":{ROOT}:")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)  # of workers that another test has
    assert subprocess.run(say, capture_output=True, text=True, check=False).stderr == "imported\n"
    with safe_children():
        assert subprocess.check_output(say, text=True) == f"{ROOT}\n"
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ["PYTHONPATH"] == f":{ROOT}:"
    assert "PYTHONSAFEPATH" not in os.environ


def test_the_working_folder_is_forgotten_where_nobody_named_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable, kept in ((f":{ROOT}", False), (f"{ROOT}:", False), (str(tmp_path), True), (f"{tmp_path}:", True)):
        monkeypatch.setenv("PYTHONPATH", variable)
        monkeypatch.setattr(sys, "path", ["/script", str(tmp_path), str(ROOT)])
        forget_working_folder()
        assert (str(tmp_path) in sys.path) == kept
        assert {"/script", str(ROOT)} <= set(sys.path)


def test_workers_of_jobs_do_not_look_into_the_working_folder(tmp_path):
    assert command(str(tmp_path), "build-0", "tls://1.2.3.4:5")[:3] == [sys.executable, "-P", "-m"]
    profile = tmp_path / "site.toml"
    profile.write_text(PROFILE)
    script = templates(read_profile(str(profile)), "tls://1.2.3.4:5")["build"].script("build-0")
    assert f"exec {sys.executable} -P -m screening.cluster.worker" in script


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


STUCK = """
import sys, time
import distributed.diskutils
from screening.cluster import signals
from cgcnn.errors import UserError
from screening.cluster.local import local_workers

def hang(*_, **__):
    print("hangs", flush=True)
    open(sys.argv[1]).read()  # a FIFO that nobody writes into

signals.PATIENCE = 0.5
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
