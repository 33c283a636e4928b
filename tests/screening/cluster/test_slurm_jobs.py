"""Jobs of a profile under commands that misbehave: banners, silence, wrong answers, refusals, odd folders."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cgcnn.errors import UserError
from screening.cluster import queue
from screening.cluster import slurm as slurm_module
from screening.cluster.jobs import Template
from screening.cluster.slurm import FUTILE, Keeper
from screening.store import Run

SPACE = ("perovskites", "--a", "Na,K,Rb,Ca,Sr,Ba,La,Y", "--b", "Ti,Zr,Hf,Nb,Ta,V", "--x", "O,N,F,S", "--anions", "3")
PROFILE = """
kind = "slurm"
interface = "lo"
[builders]
count = {count}
walltime = "10"
memory = "500MB"
"""


def write_profile(folder, count=2):
    (folder / "site.toml").write_text(PROFILE.format(count=count))
    return folder / "site.toml"


@pytest.fixture
def begin(screen, slurm, model_path):
    """Start a screen on the pretended cluster, in a folder with a profile."""

    def start(folder):
        common = (*SPACE, "--model", model_path, "--block-size", "512", "--top", "1", "--out", "R.zarr")
        return screen(folder, *common, "--cluster", "site.toml", **slurm.environment)

    return start


def committed(folder):
    return sum(part.read_bytes().count(b"\n") for part in folder.glob("R.zarr/status/manifest/part-*.jsonl"))


@pytest.mark.slow
def test_a_run_in_an_odd_folder_on_a_cluster_with_banners(tmp_path, slurm, begin):
    folder = tmp_path / "a b $(touch pwned) `touch pwned` %j 'q"
    folder.mkdir()
    write_profile(folder)
    client = begin(folder)
    said = client.communicate(timeout=90)[1]
    assert client.returncode == 0, said + slurm.logs()
    with Run.open(str(folder / "R.zarr")) as run:
        assert run.n_committed == run.header.n_blocks > 1
    assert slurm.submitted == 2
    assert slurm.left == []
    assert not list(tmp_path.rglob("pwned"))
    assert not list(folder.glob("screen-logs/.tls*"))
    assert (
        f"--output={str(folder).replace('%', '%%')}/screen-logs/screen-build-%j.out"
        in (slurm.state / "1.args").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_stopped_client_says_so_and_leaves_no_job(tmp_path, slurm, begin, until, number):
    write_profile(tmp_path)
    client = begin(tmp_path)
    until(lambda: committed(tmp_path) or client.poll() is not None)
    client.send_signal(number)
    said = client.communicate(timeout=60)[1]
    assert client.returncode == 130, said
    assert "stopped: " in said
    assert "blocks are kept" in said
    assert "Traceback" not in said
    assert slurm.left == []
    assert not list(tmp_path.glob("screen-logs/.tls*"))


@pytest.mark.slow
def test_a_client_stopped_while_it_waits_for_workers_leaves_no_job(tmp_path, slurm, begin, until):
    (slurm.state / "wait").touch()
    write_profile(tmp_path)
    client = begin(tmp_path)
    until(lambda: slurm.submitted == 2)
    client.send_signal(signal.SIGINT)
    assert client.wait(60) == 130
    assert slurm.left == []


@pytest.mark.slow
def test_a_refusing_sbatch_ends_with_its_reason(tmp_path, slurm, begin):
    (slurm.state / "refuse").touch()
    write_profile(tmp_path)
    client = begin(tmp_path)
    said = client.communicate(timeout=60)[1]
    assert client.returncode == 1
    assert said.splitlines()[-1] == (
        "screen: SLURM does not take the build jobs of site.toml: QOSMaxSubmitJobPerUserLimit."
    )


@pytest.mark.slow
def test_a_profile_that_asks_for_no_job_is_refused(tmp_path, begin):
    write_profile(tmp_path, count=0)
    client = begin(tmp_path)
    assert client.communicate(timeout=60)[1].endswith(
        "screen: site.toml: asks for no job. Give `builders` or `inference` a count of 1 or more.\n"
    )
    assert client.returncode == 1
    assert not (tmp_path / "R.zarr").exists()


@pytest.fixture
def keeper(slurm, monkeypatch):
    """A keeper of two jobs that looks often, and whose workers are those that a test says."""
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    monkeypatch.setattr(slurm_module, "INTERVAL", 0.05)
    (slurm.state / "wait").touch()
    template = Template((), (), "/tmp", ("tls://127.0.0.1:1",))  # noqa: S108  # never started
    connected: set[str] = set()
    keeper = Keeper({"build": template}, {"build": 2}, lambda: connected, "site.toml", "logs")
    keeper.connected = connected
    return keeper


@pytest.mark.slow
def test_an_empty_answer_of_squeue_floods_no_queue(slurm, keeper, until):
    with keeper.at_work():
        until(lambda: slurm.submitted == 2)
        (slurm.state / "empty").touch()
        until(lambda: keeper.problem, 20)
    assert keeper.problem == "site.toml: the build jobs are not known to squeue. See their logs in logs."
    assert slurm.submitted <= 4
    assert slurm.left == []
    with pytest.raises(UserError, match="not known to squeue"):
        keeper.check()


@pytest.mark.slow
def test_a_job_whose_worker_is_connected_is_kept_whatever_squeue_says(slurm, keeper, until):
    with keeper.at_work():
        until(lambda: len(keeper._jobs) == 2)
        keeper.connected |= set(keeper._jobs)
        (slurm.state / "empty").touch()
        time.sleep(1)
        assert slurm.submitted == 2
        assert len(slurm.left) == 2
        assert not keeper.problem
    assert slurm.left == []


@pytest.mark.slow
def test_one_empty_answer_is_not_believed(keeper, monkeypatch):
    answers = iter([{}, None, {}, {}])
    monkeypatch.setattr(queue, "states", lambda numbers: (next(answers) or {}) if len(numbers) == 2 else {})
    with keeper.at_work():
        pass  # the thread is gone now; look by hand
    keeper._stop.clear()
    before = dict(keeper._jobs)
    keeper._look()
    assert keeper._jobs == before


@pytest.mark.slow
@pytest.mark.parametrize("what", ["gone", "silent", "broken"])
def test_a_keeper_outlives_a_squeue_that_does_not_answer(slurm, keeper, until, what):
    with keeper.at_work():
        until(lambda: slurm.submitted == 2)
        command = slurm.commands / "squeue"
        kept = command.read_text()
        if what == "gone":
            command.unlink()
        else:
            command.write_text(f"#!/bin/sh\n{'exit 1' if what == 'silent' else 'echo nonsense; exit 3'}\n")
        time.sleep(0.5)
        assert keeper.states() == "SLURM does not answer" if what != "gone" else True
        command.write_text(kept)
        command.chmod(0o755)
        subprocess.run([slurm.commands / "scancel", "1"], check=True)
        until(lambda: slurm.submitted == 3)  # it is replaced, so somebody looks
    assert slurm.left == []


@pytest.mark.slow
def test_jobs_that_end_at_once_end_the_run_with_what_slurm_says(slurm, keeper, until):
    (slurm.state / "wait").unlink()  # they run, and find no scheduler
    for command in ("sbatch",):
        path = slurm.commands / command
        path.write_text(path.read_text().replace('bash "$S/$n.sh"', "false"))
    with keeper.at_work():
        until(lambda: keeper.problem, 30)
    assert "the build jobs ended before their workers came, the last one COMPLETED" in keeper.problem
    assert slurm.submitted <= 2 * (1 + FUTILE)


@pytest.mark.slow
def test_whatever_goes_wrong_in_the_keeper_ends_the_run(keeper, until, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("x")

    with keeper.at_work():
        monkeypatch.setattr(queue, "states", fail)
        until(lambda: keeper.problem, 20)
    assert "ZeroDivisionError" in keeper.problem


@pytest.mark.slow
def test_no_thread_of_the_keeper_is_left(keeper):
    with keeper.at_work():
        pass
    assert "slurm-keeper" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
def test_every_word_of_a_script_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/a b/$(touch pwned)/python")
    template = Template(
        (), ("true",), "${TMPDIR:-/tmp}", ("tls://1.2.3.4:5", "--tls-key", "/x/`touch pwned`/$(touch pwned)")
    )
    script = template.script("build-1").replace("exec ", "printf '%s\\n' ")
    shown = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": "/t p"},
    )
    words = shown.stdout.splitlines()
    assert words[0] == "/opt/a b/$(touch pwned)/python"
    assert words[1:6] == ["-P", "-m", "screening.cluster.worker", "/t p", "build-1"]
    assert words[-1] == "/x/`touch pwned`/$(touch pwned)"
    assert not list(tmp_path.iterdir())
