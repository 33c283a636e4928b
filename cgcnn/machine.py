"""What this machine allows a process."""

from __future__ import annotations

import errno
import os
import resource


def cores() -> int:
    """Count the cores that this process may use; inside a SLURM job at most those that the job asked for."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(usable, int(asked)) if asked.isdecimal() and int(asked) else usable


def limit_hit(error: BaseException | None) -> str:
    """Say which limit of the system an error comes from, with its value; "" if from none."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else 0
        if number in {errno.EMFILE, errno.ENFILE}:
            return f"no more files can be opened here (ulimit -n is {_allowed(resource.RLIMIT_NOFILE)})"
        if number == errno.EAGAIN or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
            allowed = _allowed(resource.RLIMIT_NPROC)
            limits = f"(ulimit -u is {allowed}; a container may allow fewer)"
            return f"no more threads or processes can be started here {limits}"
        error = error.__cause__ or error.__context__
    return ""


def _allowed(limit: int) -> str:
    soft = resource.getrlimit(limit)[0]
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
