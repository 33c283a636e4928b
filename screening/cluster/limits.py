"""Limits that the system sets to a process, named when they are in the way."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.machine import limit_hit

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES, FILES_OF_A_WORKER, FILES_OF_A_WORKER_ELSEWHERE = 40, 12, 4
"""Files and connections that a client has open: at least, and more for each worker. Measured, with some room."""


def make_room(workers: int, each: int = FILES_OF_A_WORKER) -> None:
    """Let this process open as many files as it needs.

    Args:
        workers: How many there will be.
        each: Files for each of them.

    Raises:
        UserError: The system does not allow it.
    """
    needed = FILES + each * workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in {soft, hard} and soft < needed <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    elif soft != resource.RLIM_INFINITY and soft < needed:
        raise UserError(
            f"ulimit -n is {hard}: {workers} workers need {needed} open files. Raise it, or ask for fewer `workers`."
        )


@contextmanager
def not_startable() -> Iterator[None]:
    """Name the limit where the system starts no more processes or threads, or opens no more files.

    Raises:
        UserError: That is so.
    """
    try:
        yield
    except Exception as error:
        if limit := limit_hit(error):
            raise UserError(limit) from error
        raise
