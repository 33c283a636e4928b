"""Jobs of a profile under commands that misbehave: banners, silence, wrong answers, refusals, odd folders."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from cgcnn.errors import UserError
from screening.cluster import slurm as slurm_module
from screening.cluster.slurm import ABSENT, FUTILE, JobPool, JobTemplate
from screening.store import StoredRun

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
    with StoredRun.open(str(folder / "R.zarr")) as run:
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
def pool(slurm, monkeypatch):
    """A pool of two jobs that looks often, counts its looks, and whose workers are those that a test says."""
    monkeypatch.setenv("PATH", slurm.environment["PATH"])
    monkeypatch.setattr(slurm_module, "INTERVAL", 0.05)
    (slurm.state / "wait").touch()
    template = JobTemplate((), (), "/tmp", ("tls://127.0.0.1:1",))  # noqa: S108  # never started
    connected: set[str] = set()
    pool = JobPool({"build": template}, {"build": 2}, lambda: connected, "site.toml", "logs")
    pool.connected, pool.looks = connected, 0
    ask = slurm_module.job_states

    def counted(numbers):
        pool.looks += 1
        return ask(numbers)

    monkeypatch.setattr(slurm_module, "job_states", counted)
    return pool


@pytest.mark.slow
def test_an_empty_answer_of_squeue_floods_no_queue(slurm, pool, until):
    with pool.at_work():
        until(lambda: slurm.submitted == 2)
        (slurm.state / "empty").touch()
        until(lambda: pool.problem, 20)
    assert pool.problem == "site.toml: the build jobs are not known to squeue. See their logs in logs."
    assert slurm.submitted <= 4
    assert slurm.left == []
    with pytest.raises(UserError, match="not known to squeue"):
        pool.check()


@pytest.mark.slow
def test_a_job_whose_worker_is_connected_is_kept_whatever_squeue_says(slurm, pool, until):
    with pool.at_work():
        pool.connected |= {"build-0", "build-1"}
        until(lambda: slurm.submitted == 2)
        (slurm.state / "empty").touch()
        seen = pool.looks
        until(lambda: pool.looks > seen + 2 * ABSENT)
        assert slurm.submitted == 2
        assert len(slurm.left) == 2
        assert not pool.problem
    assert slurm.left == []


@pytest.mark.slow
def test_one_empty_answer_is_not_believed(slurm, pool, until, monkeypatch):
    ask = slurm_module.job_states
    monkeypatch.setattr(slurm_module, "job_states", lambda numbers: ask(numbers) if pool.looks % 2 else ask([]))
    with pool.at_work():
        until(lambda: pool.looks > 4 * ABSENT)  # every other answer is empty
        assert slurm.submitted == 2
        assert not pool.problem


@pytest.mark.slow
@pytest.mark.parametrize("what", ["gone", "silent", "broken"])
def test_a_pool_outlives_a_squeue_that_does_not_answer(slurm, pool, until, what):
    elsewhere = slurm.environment["PATH"].replace(str(slurm.commands), "")
    if what == "gone" and shutil.which("squeue", path=elsewhere):
        pytest.skip("another squeue is on the path")
    with pool.at_work():
        until(lambda: slurm.submitted == 2)
        command = slurm.commands / "squeue"
        kept = command.read_text()
        if what == "gone":
            command.unlink()
        else:
            command.write_text(f"#!/bin/sh\n{'exit 1' if what == 'silent' else 'echo nonsense; exit 3'}\n")
        seen = pool.looks
        until(lambda: pool.looks > seen + 2 * ABSENT)
        assert pool.states() == "SLURM does not answer"
        command.write_text(kept)
        command.chmod(0o755)
        subprocess.run([slurm.commands / "scancel", "1"], check=True)
        until(lambda: slurm.submitted == 3)  # it is replaced, so somebody looks
    assert slurm.left == []


@pytest.mark.slow
def test_jobs_that_end_at_once_end_the_run_with_what_slurm_says(slurm, pool, until):
    (slurm.state / "wait").unlink()  # they run, and find no scheduler
    path = slurm.commands / "sbatch"
    path.write_text(path.read_text().replace('bash "$S/$n.sh"', "false"))
    with pool.at_work():
        until(lambda: pool.problem, 30)
    assert "the build jobs ended before their workers came, the last one COMPLETED" in pool.problem
    assert slurm.submitted <= 2 * (1 + FUTILE)


@pytest.mark.slow
def test_whatever_goes_wrong_in_the_pool_ends_the_run(pool, until, monkeypatch):
    def fail(_):
        raise ZeroDivisionError("x")

    with pool.at_work():
        monkeypatch.setattr(slurm_module, "job_states", fail)
        until(lambda: pool.problem, 20)
    assert "ZeroDivisionError" in pool.problem


@pytest.mark.slow
def test_no_thread_of_the_pool_is_left(pool):
    with pool.at_work():
        pass
    assert "slurm-jobs" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
def test_every_word_of_a_script_is_quoted(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/a b/$(touch pwned)/python")
    template = JobTemplate(
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
