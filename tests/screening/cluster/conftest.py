"""Commands in place of SLURM's, which run jobs on this machine and can be told to misbehave."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from screening.cluster.local import local_workers

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "sbatch": """
[[ " $* " == *" --test-only "* ]] && exit 0
[ -e "$S/refuse" ] && { echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1; }
exec 9>"$S/lock"; flock 9
n=$(($(cat "$S/count" 2>/dev/null || echo 0) + 1)); echo $n >"$S/count"
cat >"$S/$n.sh"; printf '%s\\n' "$@" >"$S/$n.args"
echo "Welcome to the cluster"; echo
[ -e "$S/wait" ] || { SLURM_JOB_ID=$n setsid bash "$S/$n.sh" >"$S/$n.log" 2>&1 9>&- & echo $! >"$S/$n.pid"; }
echo $n
""",
    "squeue": """
echo "Welcome to the cluster"; echo "maintenance | on | Monday"
[ -e "$S/empty" ] && exit 0
for word in "$@"; do case $word in --jobs=*) jobs=${word#--jobs=};; --format=*) format=${word#--format=};; esac; done
for n in ${jobs//,/ }; do
    state=COMPLETED
    [ -e "$S/$n.pid" ] || state=PENDING
    kill -0 "$(cat "$S/$n.pid" 2>/dev/null)" 2>/dev/null && state=RUNNING
    [ -e "$S/$n.cancelled" ] && state=CANCELLED
    echo "${format/\\%A|\\%T|\\%r/$n|$state|None}"
done
""",
    "scancel": """
for n in "$@"; do touch "$S/$n.cancelled"; kill -- -"$(cat "$S/$n.pid" 2>/dev/null)" 2>/dev/null; done; exit 0
""",
}


@dataclass(frozen=True)
class PretendedSlurm:
    """Where it keeps what was submitted, and its commands."""

    state: Path
    commands: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.commands}:{os.environ['PATH']}"}

    @property
    def submitted(self) -> int:
        with suppress(FileNotFoundError):
            return int((self.state / "count").read_text() or 0)
        return 0

    @property
    def left(self) -> list[int]:
        """Jobs that nobody cancelled, and that have not ended."""
        return [
            n for n in range(1, self.submitted + 1) if not (self.state / f"{n}.cancelled").exists() and self.runs(n)
        ]

    def runs(self, number: int) -> bool:
        pid = self.state / f"{number}.pid"
        return not pid.exists() or Path(f"/proc/{pid.read_text().strip()}").exists()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.state.glob("*.log")))


@pytest.fixture
def slurm(tmp_path):
    state, commands = tmp_path / "state", tmp_path / "commands"
    state.mkdir()
    commands.mkdir()
    for name, script in COMMANDS.items():
        (commands / name).write_text(f"#!/usr/bin/env bash\nS={state}\n{script}")
        (commands / name).chmod(0o755)
    pretended = PretendedSlurm(state, commands)
    yield pretended
    for pid in state.glob("*.pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.fixture
def screen():
    """Start the command in a folder; it is gone after the test."""
    started = []

    def start(folder, *arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", "screening", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def until():
    """Wait until something holds."""

    def wait(holds, seconds=60.0):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="module")
def force():
    with local_workers(1, 0) as force:
        force.client.wait_for_workers(1)
        yield force
