"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SECONDS_A_LINE = 10.0
"""How often a log hears of the progress."""


class Advance(Protocol):
    """What a loop calls for blocks that were committed together."""

    def __call__(self, candidates: Sequence[int], in_flight: int) -> float:
        """Count a block as done for each number of candidates; so many others are under way.

        Returns:
            Candidates a second since the start.
        """


@contextmanager
def progress(blocks: int) -> Iterator[Advance]:
    """Show the progress of so many blocks; yields the function to call for each."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task("screening", total=blocks, rate="")
            counter = _Counter(blocks)

            def advance(candidates: Sequence[int], in_flight: int) -> float:
                counter.count(candidates, in_flight)
                bar.update(task, completed=counter.done, rate=f"{in_flight} in flight, {counter.rate:,.0f}/s")
                return counter.rate

            yield advance
    else:
        yield _Lines(_Counter(blocks)).advance


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"))
    return Progress(*columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=Console(stderr=True))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@dataclass
class _Counter:
    blocks: int
    done: int = 0
    candidates: int = 0
    in_flight: int = 0
    started: float = field(default_factory=time.monotonic)

    def count(self, candidates: Sequence[int], in_flight: int) -> None:
        self.done += len(candidates)
        self.candidates += sum(candidates)
        self.in_flight = in_flight

    @property
    def seconds(self) -> float:
        """Since the start."""
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def rate(self) -> float:
        """Candidates a second since the start."""
        return self.candidates / self.seconds

    def __str__(self) -> str:
        left = self.seconds / max(self.done, 1) * (self.blocks - self.done)
        done = f"{self.done} of {self.blocks} blocks, {self.candidates:,} candidates, {self.rate:,.0f}/s"
        return f"{done}, {self.in_flight} in flight, {duration(left)} to go" if self.done < self.blocks else done


@dataclass
class _Lines:
    counter: _Counter
    told: float = field(default_factory=time.monotonic)

    def advance(self, candidates: Sequence[int], in_flight: int) -> float:
        self.counter.count(candidates, in_flight)
        now = time.monotonic()
        if now - self.told >= SECONDS_A_LINE or self.counter.done == self.counter.blocks:
            self.told = now
            sys.stderr.write(f"{self.counter}\n")
            sys.stderr.flush()
        return self.counter.rate
