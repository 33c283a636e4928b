"""What goes wrong around a screen on a SLURM: who stops it, what SLURM's commands answer, where it runs."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from cgcnn.errors import UserError
from screening.cluster.slurm import submit_job
from screening.store import StoredRun

pytestmark = pytest.mark.timeout(240)


def queued(slurm):
    """Jobs of screens that have not ended."""
    rows = slurm.ask("squeue", "-h", "-t", "pending,running,suspended", "-o", "%j").split()
    return [name for name in rows if name.startswith("screen-")]


def wrapped(slurm, folder, name, script):
    """The same SLURM with another command in place of one of its own, which the script finds as $real."""
    folder.mkdir(exist_ok=True)
    real = shutil.which(name, path=slurm.environment["PATH"])
    (folder / name).write_text(f"#!/usr/bin/env bash\nreal={real}\n{script}\n")
    (folder / name).chmod(0o755)
    return replace(slurm, environment=slurm.environment | {"PATH": f"{folder}:{slurm.environment['PATH']}"})


def test_ctrl_c_stops_with_130_says_so_and_empties_the_queue(slurm, profile):
    with slurm.start("stopped", "--cluster", str(profile)) as client:
        slurm.until("stopped", 1)
        client.send_signal(signal.SIGINT)
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 130, said
    assert "stopped: " in said
    assert "Traceback" not in said
    assert queued(slurm) == []
    with slurm.start("stopped", "--cluster", str(profile), "--resume") as client:
        assert client.wait(120) == 0, client.communicate()
    slurm.check("stopped")


def test_banners_vanishing_and_empty_answers_of_squeue_cost_nothing(slurm, profile, tmp_path):
    script = f"""
count=$(cat {tmp_path}/count 2>/dev/null || echo 0); echo $((count + 1)) >{tmp_path}/count
echo "Welcome | to | the cluster"
case $count in 1) exit 0;; 2) exit 1;; 3) rm "$0";; esac
exec $real "$@"
"""
    odd = wrapped(slurm, tmp_path / "bin", "squeue", script)
    odd = replace(odd, environment=odd.environment | {"LOGNAME": "nobody", "USER": "nobody"})
    before = slurm.ask("scontrol", "show", "jobs", "-o").count("JobName=screen-")
    with odd.start("odd", "--cluster", str(profile)) as client:
        said = client.communicate(timeout=120)[1]
    assert client.returncode == 0, said
    slurm.check("odd")
    assert slurm.ask("scontrol", "show", "jobs", "-o").count("JobName=screen-") - before == 3  # as many as are wanted
    assert queued(slurm) == []


def test_a_squeue_that_knows_no_job_floods_no_queue(slurm, profile, tmp_path):
    profile.write_text(profile.read_text().replace('"500MB"', '"500MB"\ndirectives = ["--hold"]'))
    blind = wrapped(slurm, tmp_path / "bin", "squeue", "exit 0")
    before = slurm.ask("scontrol", "show", "jobs", "-o").count("JobName=screen-")
    with blind.start("blind", "--cluster", str(profile)) as client:
        said = client.communicate(timeout=120)[1]
    assert client.returncode == 1
    assert "jobs are not known to squeue" in said.splitlines()[-1]
    assert slurm.ask("scontrol", "show", "jobs", "-o").count("JobName=screen-") - before <= 6
    assert queued(slurm) == []


def test_refusals_come_with_slurms_reason(slurm, profile, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"SLURM does not take the jobs: .*nvalid partition"):
        submit_job(["--partition=nowhere"], "#!/bin/sh\ntrue\n", "the jobs")
    profile.write_text('kind = "slurm"\ninterface = "lo"\n[builders]\ncount = 0\n')
    with slurm.start("none", "--cluster", str(profile)) as client:
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 1
    assert said.endswith("asks for no job. Give `builders` or `inference` a count of 1 or more.\n")
    profile.write_text('kind = "slurm"\ninterface = "lo"\n[builders]\ncount = 1\nmemory = "900TB"\npartition = "cpu"\n')
    with slurm.start("large", "--cluster", str(profile)) as client:
        said = client.communicate(timeout=60)[1]
    assert client.returncode == 1
    assert "SLURM refuses the build jobs" in said
    assert "configuration is not available" in said


def test_a_folder_with_blanks_and_commands_in_its_name(slurm, profile):
    folder = slurm.folder / "a b $(touch pwned) `touch pwned` %j"
    folder.mkdir()
    shutil.copy(profile, folder / "site.toml")
    command = [sys.executable, "-m", "screening", *slurm.screen("R"), "--cluster", "site.toml"]
    done = subprocess.run(
        command, cwd=folder, env=slurm.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with StoredRun.open(str(folder / "R.zarr")) as run:
        assert run.n_committed == run.header.n_blocks
    assert len(list(folder.glob("screen-logs/screen-build-*.err"))) == 2
    assert not [path for path, _, files in os.walk(slurm.folder) if "pwned" in files]
