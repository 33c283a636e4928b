"""What this machine gives to a process."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use; inside a SLURM job no more than the job asked for."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(usable, int(asked)) if asked.isdecimal() and int(asked) else usable
