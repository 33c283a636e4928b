"""Progress on stderr: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

if TYPE_CHECKING:
    from cgcnn.training.fit import Progress

LINES = 10  # plain lines a member
SECONDS = 10.0  # between plain lines of a counter


class Reporter:
    """Called after every epoch with the stage, the member and its progress."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.console = Console(stderr=True, highlight=False)
        self.bars = Bars(console=self.console, disable=not self.console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self.start = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, stage: str, member: int, progress: Progress) -> None:
        """Show how far a member is."""
        of = "" if "teachers" in stage else f" of {self.members}"
        name = f"{stage}: member {member + 1}{of}"
        if not self.bars.disable:
            task = self.tasks.setdefault(name, TaskID(-1))
            if task < 0:
                task = self.tasks[name] = self.bars.add_task(name, total=progress.epochs)
            self.bars.update(task, completed=progress.epoch, description=f"{name}, {_losses(progress)}")
        elif progress.epoch == progress.epochs or progress.epoch % max(1, progress.epochs // LINES) == 0:
            seconds = time.monotonic() - self.start
            self.console.print(
                f"{name}, epoch {progress.epoch} of {progress.epochs}, {_losses(progress)}, {seconds:.0f} s",
                soft_wrap=True,
            )


def _losses(progress: Progress) -> str:
    checked = "" if math.isnan(progress.validation) else f", validation {progress.validation:.4f}"
    return f"loss {progress.loss:.4f}{checked}"


class Counter:
    """Called with what is done and what there is to do; shown on stderr once it takes more than a moment."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.console = Console(stderr=True, highlight=False)
        self.bars = Bars(console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bars.add_task(what, total=None)
        self.start = self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        self.bars.update(self.task, completed=done, total=total)
        now = time.monotonic()
        if self.bars.disable and now - self.shown > SECONDS:
            self.shown = now
            self.console.print(f"{self.what}: {done} of {total}, {now - self.start:.0f} s", soft_wrap=True)
