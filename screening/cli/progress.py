"""What a campaign tells on stderr: where it goes, a bar on a terminal or a line now and then in a log, and its end."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cgcnn.cli.options import plain
from screening.campaign import Advanced, Begun, Event, Opened, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

SECONDS_A_LINE = 10.0
"""How often a log hears of the progress."""


class Listener:
    """Called with the events of a campaign; a context manager.

    Args:
        opened: Says what there is to say once the run is there.
    """

    def __init__(self, opened: Callable[[], None] = lambda: None) -> None:
        self._opened = opened
        self._started = self._told = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"))
        self._bar = Progress(
            *columns,
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Say what happened."""
        match event:
            case Opened():
                self._opened()
            case Begun():
                self._begin(event)
            case Advanced():
                self._advance(event)
            case Stopped():
                self._bar.stop()
                click.echo(plain(_farewell(event)), err=True)

    def _begin(self, begun: Begun) -> None:
        todo = f"{begun.candidates:,} candidates, {begun.todo} of {begun.blocks} blocks to do"
        click.echo(plain(f"{begun.url}: {todo}; {begun.workers}"), err=True)
        if begun.stays_on_cpu:
            click.echo("note: the run was begun on CPUs and goes on there, for a GPU rounds differently.", err=True)
        self._started = self._told = time.monotonic()
        self._task = self._bar.add_task("screening", total=begun.todo, rate="")
        self._bar.start()

    def _advance(self, event: Advanced) -> None:
        now = time.monotonic()
        pace = Pace(event, max(now - self._started, 1e-9))
        if self._task is not None and not self._bar.disable:
            self._bar.update(self._task, completed=event.done, rate=f"{event.in_flight} in flight, {pace.rate:,.0f}/s")
        elif now - self._told >= SECONDS_A_LINE or event.done == event.todo:
            self._told = now
            click.echo(str(pace), err=True)


@dataclass(frozen=True)
class Pace:
    """How fast a campaign is.

    Attributes:
        event: The last one.
        seconds: Since it began.
    """

    event: Advanced
    seconds: float

    @property
    def rate(self) -> float:
        """Candidates a second since the start."""
        return self.event.candidates / self.seconds

    def __str__(self) -> str:
        event = self.event
        done = f"{event.done} of {event.todo} blocks, {event.candidates:,} candidates, {self.rate:,.0f}/s"
        left = self.seconds / event.done * (event.todo - event.done)
        return f"{done}, {event.in_flight} in flight, {duration(left)} to go" if event.done < event.todo else done


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _farewell(stopped: Stopped) -> str:
    kept = f"stopped: {stopped.committed} of {stopped.blocks} blocks are kept"
    if stopped.on_notice:
        return f"{kept} on a notice of the end."
    return f"{kept}; the same command with --resume goes on from there."
