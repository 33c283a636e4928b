"""How far a run is, as anybody can see who can read it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from cgcnn.cli.options import echo
from screening.campaign import Advanced, Begun, Distilled, Distilling, Event, Opened, Stopped
from screening.ranking.results import make_ledger
from screening.store import StoredRun, lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from screening.store.place import Place


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
        self._at_work: float | None = None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"))
        self._bar = Progress(
            *columns,
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False),
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
            case Distilling():
                echo(f"cascade: fitting a student to {event.model} …", err=True)
            case Distilled():
                if event.measured is None:
                    without = f"note: no cascade, {event.reason}; the ensemble looks at all of them."
                    echo(without, err=True)
                else:
                    echo(f"cascade: fitted in {event.seconds:.1f} s", err=True)
            case Opened():
                self._opened()
            case Begun():
                self._begin(event)
            case Advanced():
                self._advance(event)
            case Stopped():
                self._bar.stop()
                echo(_farewell(event), err=True)

    def _begin(self, begun: Begun) -> None:
        todo = f"{begun.candidates:,} candidates, {begun.todo} of {begun.blocks} blocks to do"
        echo(f"{begun.url}: {todo}; {begun.workers}", err=True)
        if begun.stays_on_cpu:
            echo("note: the run was begun on CPUs and goes on there, for a GPU rounds differently.", err=True)
        self._started = self._told = time.monotonic()
        self._at_work = None
        self._task = self._bar.add_task("screening", total=begun.todo, rate="", left="")
        self._bar.start()

    def _advance(self, event: Advanced) -> None:
        now = time.monotonic()
        if self._at_work is None:  # when the first block was begun: workers had to start before
            self._at_work = max(self._started, now - event.seconds)
        pace = Pace(event, max(now - self._started, 1e-9), max(now - self._at_work, 1e-9))
        if self._task is not None and not self._bar.disable:
            rate = f"{event.in_flight} in flight, {pace.rate:,.0f}/s"
            self._bar.update(self._task, completed=event.done, rate=rate, left=f"{duration(pace.left)} to go")
        elif now - self._told >= SECONDS_A_LINE or event.done == event.todo:
            self._told = now
            echo(str(pace), err=True)


@dataclass(frozen=True)
class Pace:
    """How fast a campaign is.

    Attributes:
        event: The last one.
        seconds: Since it began.
        at_work: Seconds since the first block was begun, which is later: workers have to start.
    """

    event: Advanced
    seconds: float
    at_work: float

    @property
    def rate(self) -> float:
        """Candidates a second since the start."""
        return self.event.candidates / self.seconds

    @property
    def left(self) -> float:
        """Seconds to go.

        Blocks that are worked on at the same time end at about the same time, so that when the first of them has ended
        the others are nearly done, too: what counts is how many rounds there were, and how many there will be.
        """
        event = self.event
        rounds = -(-event.done // event.at_once)
        to_come = (event.todo - event.done) / event.at_once
        return self.at_work / rounds * max(event.todo / event.at_once - rounds, min(to_come, 1.0) / 2)

    def __str__(self) -> str:
        event = self.event
        done = f"{event.done} of {event.todo} blocks, {event.candidates:,} candidates, {self.rate:,.0f}/s"
        return f"{done}, {event.in_flight} in flight, {duration(self.left)} to go" if event.done < event.todo else done


def duration(seconds: float) -> str:
    """Write a duration as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _farewell(stopped: Stopped) -> str:
    kept = f"stopped: {stopped.committed} of {stopped.blocks} blocks are kept"
    if stopped.on_shutdown_request:
        return f"{kept} on a notice of the end."
    return f"{kept}; the same command with --resume goes on from there."


def print_state(url: str) -> None:
    """Print blocks done, ledger, who is at work, speed and time to go.

    Raises:
        UserError: There is no run, or it is damaged.
    """
    with StoredRun.open(url) as run:
        done, blocks = run.n_committed, run.header.n_blocks
        echo(f"{url}: {done:,} of {blocks:,} blocks are committed ({100 * done / blocks:.1f} %)")
        echo(make_ledger(run.ledger(), run.header.filters, run.header.rows), lines=True)
        place = run.place
        told = [_tell_holders(place, part) for part in lock.parts(place)]
        if done < blocks:
            at_work, rate = any(there for there, _ in told), sum(rate for _, rate in told)
            echo(_outlook(run, rate) if at_work else "nobody is at work on it; --resume goes on with it")


def _tell_holders(place: Place, part: int) -> tuple[bool, float]:
    """Print who holds a part of the manifest; False if it is certain that they are gone. And candidates/s of theirs."""
    holders = list(lock.claims(place, part))
    for holder in holders:
        note = {True: "at work", False: "gone", None: "at work when last seen"}[lock.alive(holder)]
        echo(f"part {part}: {holder}, {note}")
    there = [holder for holder in holders if lock.alive(holder) is not False]
    return bool(there), sum(lock.rate(place, part, holder) for holder in there)


def _outlook(run: StoredRun, rate: float) -> str:
    if not rate:
        return "no block is done yet by who is at work on it"
    left = run.ledger().get(0, 0)
    return f"about {rate:,.0f} candidates/s, {duration(left / rate)} to go"
