"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_A_LINE = 10.0
"""How often a log hears of the progress."""


class Advance(Protocol):
    """What a loop calls for each committed block."""

    def __call__(self, candidates: int) -> None:
        """Count a block of so many candidates as done."""


@contextmanager
def progress(blocks: int) -> Iterator[Advance]:
    """Show the progress of so many blocks; yields the function to call for each."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task("screening", total=blocks, rate="")
            counter = _Counter(blocks)

            def advance(candidates: int) -> None:
                counter.count(candidates)
                bar.update(task, advance=1, rate=f"{counter.rate:,.0f}/s")

            yield advance
    else:
        yield _Lines(_Counter(blocks)).advance


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"))
    return Progress(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=Console(stderr=True))


@dataclass
class _Counter:
    blocks: int
    done: int = 0
    candidates: int = 0
    started: float = field(default_factory=time.monotonic)

    def count(self, candidates: int) -> None:
        self.done += 1
        self.candidates += candidates

    @property
    def rate(self) -> float:
        """Candidates a second since the start."""
        return self.candidates / max(time.monotonic() - self.started, 1e-9)

    def __str__(self) -> str:
        return f"{self.done} of {self.blocks} blocks, {self.candidates:,} candidates, {self.rate:,.0f}/s"


@dataclass
class _Lines:
    counter: _Counter
    told: float = field(default_factory=time.monotonic)

    def advance(self, candidates: int) -> None:
        self.counter.count(candidates)
        now = time.monotonic()
        if now - self.told >= SECONDS_A_LINE or self.counter.done == self.counter.blocks:
            self.told = now
            sys.stderr.write(f"{self.counter}\n")
            sys.stderr.flush()
