"""Ctrl-C and SIGTERM at moments that must not be cut short."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: a cluster that is stopped half-way up or down leaves errors on the screen, or jobs.

    Ctrl-C reaches every process of a terminal, but the client alone answers it, and stops its workers in order.
    Threads that begin here, and the processes that these start later, never get it. Only the main thread gets
    signals; in another one nothing is to be done.

    Raises:
        KeyboardInterrupt: At the end, if one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # or whoever starts a process starts it, and that takes the mask away
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda came_, _: came.append(came_)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
