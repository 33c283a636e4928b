"""The few things that we ask SLURM."""

from __future__ import annotations

import getpass
import subprocess
import tempfile

from cgcnn.errors import UserError

SECONDS = 60
"""How long a controller may take to answer."""


def check_script(script: str, what: str) -> None:
    """Ask SLURM whether it would take a batch script, submitting nothing.

    Raises:
        UserError: With SLURM's own reason, or because there is no SLURM here.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(script)
        file.flush()
        answer = _call("sbatch", "--test-only", file.name)
    if answer.returncode:
        lines = [line.rpartition("error: ")[2].strip() for line in answer.stderr.splitlines() if line.strip()]
        raise UserError(f"SLURM refuses {what}: {'; '.join(dict.fromkeys(lines))}. Mend the profile.")


def jobs() -> dict[str, str] | None:
    """State and reason of each of the user's jobs that has not ended, by number; None if SLURM does not answer."""
    answer = _call("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%A|%T|%r")
    if answer.returncode:
        return None
    rows = (line.split("|", 2) for line in answer.stdout.splitlines())
    return {number: state if reason == "None" else f"{state} ({reason})" for number, state, reason in rows}


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)  # noqa: S603  # no shell
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found. SLURM's commands are on login nodes; run this there.") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "SLURM does not answer")
