"""What this machine allows a process."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask a process to end: Ctrl-C, a batch system, a terminal that closes, Ctrl-\\."""


_SHORT = ("failed to map segment", "annot allocate memory", "can't allocate memory", "without exception set")
"""Words of those whom an address space that is too small keeps from loading or computing."""


def stopping() -> tuple[signal.Signals, ...]:
    """Return the signals that ask this process to end, but for those that it was started to ignore, as by `nohup`."""
    return tuple(number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def safe_children() -> Iterator[None]:
    """Keep the working folder off `sys.path` of Python processes that are started meanwhile.

    A new process looks there first, even for `multiprocessing`, unless it is told otherwise; and an empty entry in
    PYTHONPATH, as of ``export PYTHONPATH=$PYTHONPATH:/x``, means the working folder, too. Others may be able to write
    into it.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
    os.environ["PYTHONSAFEPATH"] = "1"
    if before["PYTHONPATH"] is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, before["PYTHONPATH"].split(os.pathsep)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def forget_working_folder() -> None:
    """Take the working folder off `sys.path` of this process if only an empty entry in PYTHONPATH put it there."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    here = Path.cwd()
    named = any(entry and Path(entry).absolute() == here for entry in entries)
    if len(entries) > 1 and not all(entries) and not named:
        first = 0 if sys.flags.safe_path else 1  # else the folder of the script, or what `python -m` was started in
        sys.path[first:] = [entry for entry in sys.path[first:] if entry and Path(entry) != here]


def cores() -> int:
    """Count the cores that this process may use; inside a SLURM job at most those that the job asked for."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(usable, int(asked)) if re.fullmatch("0*[1-9][0-9]{0,8}", asked) else usable


def limit_hit(error: BaseException | None) -> str:
    """Say which limit of the system an error comes from, with its value and a remedy; "" if from none."""
    remedy = "Raise that, or ask for fewer `workers`."
    while error is not None:
        number = error.errno if isinstance(error, OSError) else 0
        if number in {errno.EMFILE, errno.ENFILE}:
            return f"no more files can be opened here (ulimit -n is {_allowed(resource.RLIMIT_NOFILE)}). {remedy}"
        if number == errno.ENOMEM or _is_out_of_memory(error):
            return f"no more memory can be had here (ulimit -v is {_allowed(resource.RLIMIT_AS)}). {remedy}"
        if number == errno.EAGAIN or (isinstance(error, RuntimeError) and "start new thread" in str(error)):
            allowed = _allowed(resource.RLIMIT_NPROC)
            said = f"(ulimit -u is {allowed}; a container may allow fewer)"
            return f"no more threads or processes can be started here {said}. {remedy}"
        if type(error).__module__.startswith("psutil") and not Path("/proc/self/stat").exists():
            return "there is no /proc here, which workers need. Mount it, or leave out `workers` and `cluster`."
        error = error.__cause__ or error.__context__
    return ""


def _is_out_of_memory(error: BaseException) -> bool:
    """Check whether memory could not be had, as Python, torch or the loader of libraries say it."""
    if isinstance(error, MemoryError):
        return True
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return False
    said = str(error)
    return isinstance(error, (ImportError, RuntimeError, SystemError)) and any(word in said for word in _SHORT)


def _allowed(limit: int) -> str:
    soft = resource.getrlimit(limit)[0]
    unit = 1024 if limit == resource.RLIMIT_AS else 1  # as the shell counts
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft // unit)
