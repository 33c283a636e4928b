"""Ctrl-C, SIGTERM and their like at moments that must not be cut short."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from cgcnn.machine import STOPPING, stopping

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let signals that end this process wait: a cluster that is stopped half-way up or down leaves errors, or jobs.

    Ctrl-C and a terminal that closes reach every process of it, but the client alone answers, and stops its workers in
    order. Threads that begin here, and the processes that these start later, never get it. Only the main thread gets
    signals; in another one nothing is to be done.

    Raises:
        KeyboardInterrupt: At the end, if one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = stopping()
    before = {number: signal.signal(number, lambda came_, _: came.append(came_)) for number in numbers}
    blocked = {*STOPPING} - {signal.SIGTERM}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    resource_tracker.ensure_running()  # or whoever starts a process starts it, and that takes Ctrl-C off the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
