"""Who may talk to workers, and whose folders and code they use on shared machines."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from distributed import Client

from cgcnn.errors import UserError
from cgcnn.machine import forget_working_folder, safe_children
from screening.cluster.profile import read_profile
from screening.cluster.security import certificates, in_memory, private_folder, private_scratch
from screening.cluster.slurm import templates
from screening.cluster.worker import command

ROOT = Path(__file__).parents[3]


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


@pytest.mark.slow
def test_certificates_of_killed_clients_are_swept_at_the_next_start(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from screening.cluster.security import certificates\n"
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


PROFILE = 'kind = "slurm"\n[builders]\ncount = 1\n'


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
