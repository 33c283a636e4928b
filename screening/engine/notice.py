"""The notice that SLURM gives before it ends a job: finish what is under way, and come back later."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

DRAIN = 20.0
"""Seconds in which blocks in flight may end after the notice."""


@dataclass
class Notice:
    """Whether and when the notice came.

    Attributes:
        came: On the monotonic clock, s; None if it did not.
    """

    came: float | None = None

    def __bool__(self) -> bool:
        """Whether it came: nothing new is begun then."""
        return self.came is not None

    @property
    def expired(self) -> bool:
        """Whether it is time to leave, whatever is in flight."""
        return self.came is not None and time.monotonic() - self.came > DRAIN


@contextmanager
def on_notice() -> Iterator[Notice]:
    """Take SIGUSR1 as the notice; batch scripts have SLURM send it. In other threads than the main one none comes."""
    notice = Notice()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield notice
        return

    def take(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler
        notice.came = notice.came or time.monotonic()

    before = signal.signal(signal.SIGUSR1, take)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGUSR1, before)
