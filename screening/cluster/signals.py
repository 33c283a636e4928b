"""Ctrl-C, SIGTERM and their like at moments that must not be cut short."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, TypeVar

from cgcnn.errors import UserError
from cgcnn.machine import STOPPING, stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Started = TypeVar("Started")

LIMIT = 120.0
"""Seconds in which a scheduler must be up; worker processes get more, by their number."""
PATIENCE = 10.0
"""Seconds that a start may go on after Ctrl-C or SIGTERM, to end in order."""
LOOK = 0.1
"""Seconds between two looks at a start."""


@contextmanager
def uninterrupted() -> Iterator[Callable[[], bool]]:
    """Let signals that end this process wait: a cluster that is stopped half-way up or down leaves errors, or jobs.

    Ctrl-C and a terminal that closes reach every process of it, but the client alone answers, and stops its workers in
    order. Threads that begin here, and the processes that these start later, never get it. Only the main thread gets
    signals; in another one nothing is to be done.

    Yields:
        Says whether one of them came.

    Raises:
        KeyboardInterrupt: At the end, if one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    numbers = stopping()
    before = {number: signal.signal(number, lambda came_, _: came.append(came_)) for number in numbers}
    blocked = {*STOPPING} - {signal.SIGTERM}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    resource_tracker.ensure_running()  # or whoever starts a process starts it, and that takes Ctrl-C off the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield lambda: bool(came) or bool(blocked & signal.sigpending())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def started(begin: Callable[[], Started], came: Callable[[], bool], limit: float = LIMIT) -> Started:
    """Start something in a thread, and give up if it takes too long, or if a signal came and it does not end soon.

    Args:
        begin: Starts it.
        came: Says whether a signal came, as of `uninterrupted`.
        limit: Seconds.

    Raises:
        UserError: It takes longer than the limit.
        KeyboardInterrupt: A signal came, and it was not up `PATIENCE` seconds later.
    """
    results: list[Started] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(begin())
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="start", daemon=True)
    thread.start()
    end, interrupted = time.monotonic() + limit, False
    while thread.is_alive():
        thread.join(LOOK)
        if not interrupted and came():
            end, interrupted = min(end, time.monotonic() + PATIENCE), True
        if thread.is_alive() and time.monotonic() > end:
            if interrupted:
                raise KeyboardInterrupt
            raise UserError(
                f"workers did not start within {limit:g} s. Is the folder for temporary files on a disk that answers?"
            )
    if errors:
        raise errors[0]
    return results[0]
