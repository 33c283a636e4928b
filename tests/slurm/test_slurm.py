"""Every way of running on a SLURM cluster, and what happens to jobs there; the result is the same each time."""

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def one_node(slurm, run, *options):
    return slurm.ask("sbatch", "--parsable", *options, str(CLUSTER / "one-node.sbatch"), *slurm.screen(run))


@pytest.fixture
def het(slurm):
    path = slurm.folder / "het.toml"
    path.write_text((CLUSTER / "heterogeneous.toml").read_text().replace('# interface = "ib0"', 'interface = "lo"'))
    return path


@pytest.fixture(scope="module")
def timed(slurm):
    """A job whose minute of walltime is too short for its run: its number. It runs beside the first tests.

    SLURM looks at time limits every half minute, and tells a job of its end then if less than a minute is left. Until
    the job was told, a block takes a second more.
    """
    return one_node(slurm, "timed", "--time=1", "--partition=gpu", "--cpus-per-task=1", slowly(slurm, 5))


def slowly(slurm, seconds):
    """The option of a job whose blocks take so much longer, until it is put back into the queue."""
    slow = slurm.folder / f"slow-{seconds}.sh"
    lab = Path(__file__).parents[1] / "screening" / "faultlab"
    slow.write_text(
        f'#!/bin/sh\n[ "${{SLURM_RESTART_COUNT:-0}}" = 0 ] && export FAULT_SLOW={seconds}\n'
        f'PYTHONPATH="{lab}:$PYTHONPATH" exec {sys.executable} -m screening "$@"\n'
    )
    slow.chmod(0o755)
    return f"--export=ALL,SCREEN={slow}"


def test_each_batch_script_fills_a_run(slurm, het, crystals, timed):  # noqa: ARG001  # runs beside it
    sizes = ("--ntasks=2", ":", "--partition=gpu", "--gres=gpu:1", "--ntasks=1")
    arguments, expected = crystals
    jobs = [
        one_node(slurm, "node", "--cpus-per-task=1"),
        slurm.ask(
            *("sbatch", "--parsable", "--array=1-2", "--cpus-per-task=1", str(CLUSTER / "array.sbatch")),
            *slurm.screen("array"),
        ),
    ]
    two_kinds = ("sbatch", "--parsable", f"--export=ALL,CLUSTER={het}", *sizes, str(CLUSTER / "heterogeneous.sbatch"))
    jobs += [slurm.ask(*two_kinds, *slurm.screen("het")), slurm.ask(*two_kinds, *arguments)]
    assert [slurm.wait(job) for job in jobs] == ["COMPLETED"] * 4, slurm.logs()
    for run in ("node", "het", "array"):
        slurm.check(run)
    slurm.check("crystals", expected)
    assert sorted(path.name for path in slurm.folder.glob("array.zarr/status/manifest/part*")) == [
        "part-0001.jsonl",
        "part-0002.jsonl",
    ]
    lines = next(slurm.folder.glob("het.zarr/**/part-0000.jsonl")).read_text().splitlines()
    assert len({json.loads(line)["worker"] for line in lines}) == 1  # of three workers the one for inference writes


def test_lost_jobs_of_a_profile_are_replaced(slurm, profile):
    with slurm.start("lost", "--cluster", str(profile)) as client:
        slurm.until("lost", 1)
        builders, inference = slurm.jobs("screen-build"), slurm.jobs("screen-infer")
        assert set(inference.values()) == {"n3"}
        assert "n3" not in builders.values()
        assert len(builders) == 2
        slurm.ask("scancel", min(builders), *inference)
        slurm.until("lost", 3)
        assert slurm.jobs("screen-infer").keys().isdisjoint(inference)
        node = slurm.jobs("screen-build")[max(builders)]
        slurm.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        try:
            said = client.communicate(timeout=120)[1]
        finally:
            with suppress(subprocess.CalledProcessError):  # it came back by itself
                slurm.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert client.returncode == 0, said
    slurm.check("lost")
    assert not list(slurm.folder.glob("screen-logs/.tls*"))


def test_a_job_that_is_requeued_or_preempted_goes_on_where_it_stopped(slurm):
    requeued = one_node(slurm, "requeued", "--cpus-per-task=1", slowly(slurm, 2))
    spare = ("--cpus-per-task=1", "--partition=spare", "--nodelist=n3", slowly(slurm, 2))
    preempted = one_node(slurm, "preempted", *spare)
    slurm.until("requeued", 1)
    slurm.ask("scontrol", "requeue", requeued)
    slurm.until("preempted", 1)
    intruder = slurm.ask(
        *("sbatch", "--parsable", "--partition=gpu", "--exclusive", "--output=/dev/null", "--wrap", "sleep 1")
    )
    assert slurm.wait(intruder) == "COMPLETED"
    assert [slurm.wait(job) for job in (requeued, preempted)] == ["COMPLETED"] * 2, slurm.logs()
    for run in ("requeued", "preempted"):
        slurm.check(run)
    told = slurm.logs()
    assert re.search(r"preempted.zarr: .* (\d+) of (\d+) blocks to do", told)
    assert "on a notice of the end" in told


def test_a_job_at_the_end_of_its_walltime_goes_on_where_it_stopped(slurm, timed):
    assert slurm.wait(timed) == "COMPLETED", slurm.logs()
    slurm.check("timed")
    log = (slurm.folder / f"screen-{timed}.log").read_text()
    kept, again = re.search(r"stopped: (\d+) of 14 blocks are kept on a notice of the end", log), log.count("to do")
    assert kept, log
    assert 0 < int(kept[1]) < 14
    assert f"{14 - int(kept[1])} of 14 blocks to do" in log
    assert again >= 2


def test_a_dead_service_fails_the_job(slurm, het):
    job = one_node(slurm, "dead", "--cpus-per-task=1", f"--export=ALL,CLUSTER={het}")
    slurm.until("dead", 1)
    slurm.ask("scancel", f"{job}.0")
    assert slurm.wait(job) == "FAILED"
    assert "the build workers ended with status" in (slurm.folder / f"screen-{job}.log").read_text()


def test_a_wrong_partition_gives_one_clear_line_and_no_run(slurm, profile):
    profile.write_text(profile.read_text().replace('"gpu"', '"nowhere"'))
    with slurm.start("never", "--cluster", str(profile)) as client:
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 1
    assert re.fullmatch(r"screen: SLURM refuses the infer jobs of .*site.toml: invalid partition .*nowhere.*\n", said)
    assert not (slurm.folder / "never.zarr").exists()
    assert not slurm.jobs()
