"""The few things that we ask of SLURM: to take jobs, to say how they are, to cancel them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SECONDS = 60
"""How long a controller may take to answer."""
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"}
    | {"TIMEOUT"}
)
"""States that a job does not leave."""
MARK = "screen-says"
"""Begins each line of ours: sites print banners on stdout, also before the answers of commands."""


@dataclass(frozen=True)
class State:
    """How a job is.

    Attributes:
        name: As SLURM calls it, such as "PENDING".
        reason: Why it is so, if SLURM says.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.name in ENDED


def check(arguments: Sequence[str], script: str, what: str) -> None:
    """Ask SLURM whether it would take a job, submitting nothing.

    Args:
        arguments: Of sbatch.
        script: Of the job.
        what: The jobs in words.

    Raises:
        UserError: With SLURM's own reason, or because there is no SLURM here.
    """
    answer = _call("sbatch", "--test-only", *arguments, script=script)
    if answer is None:
        raise UserError("sbatch: not found. SLURM's commands are on login nodes; run this there.")
    if answer.returncode:
        raise UserError(f"SLURM refuses {what}: {_reason(answer)}. Mend the profile.")


def submit(arguments: Sequence[str], script: str, what: str) -> str:
    """Submit a job; its number.

    Raises:
        UserError: With SLURM's own reason.
    """
    answer = _call("sbatch", "--parsable", *arguments, script=script)
    if answer is None:
        raise UserError(f"SLURM does not take {what}: sbatch is not there any more.")
    found = re.findall(r"^(\d+)(?:;\S*)?$", answer.stdout, re.MULTILINE)
    if answer.returncode or not found:
        raise UserError(f"SLURM does not take {what}: {_reason(answer)}.")
    return str(found[-1])


def states(numbers: Collection[str]) -> dict[str, State] | None:
    """How jobs are, as far as SLURM still knows them, by number; None if it does not answer.

    They are asked for by their numbers: who submitted them, and under which name, is then of no importance.
    """
    if not numbers:
        return {}
    wanted = ("--noheader", "--states=all", f"--jobs={','.join(numbers)}", f"--format={MARK}|%A|%T|%r")
    answer = _call("squeue", *wanted)
    if answer is None or (answer.returncode and "Invalid job id" not in answer.stderr):
        return None
    lines = re.findall(rf"^{MARK}\|(\d+)\|([A-Z_]+)\|(.*)$", answer.stdout, re.MULTILINE)
    return {number: State(name, "" if reason == "None" else reason) for number, name, reason in lines}


def cancel(numbers: Collection[str]) -> None:
    """Cancel jobs; those that have ended are no error."""
    if numbers:
        _call("scancel", *numbers)


def _reason(answer: subprocess.CompletedProcess[str]) -> str:
    """What SLURM says, without the name of the command before it."""
    lines = [line.rpartition("error: ")[2].strip() for line in answer.stderr.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines)) or f"exit status {answer.returncode}"


def _call(*command: str, script: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """The answer of a command; None if it is not there. In a session of its own, where no Ctrl-C reaches it."""
    try:
        return subprocess.run(  # noqa: S603  # no shell
            command,
            input=script,
            stdin=subprocess.DEVNULL if script is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "SLURM does not answer")
    except OSError:
        return None
