"""What every kind of fault in `faults.py` needs: a place for trials, what must hold after one, what they came to."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faultruns
from faultlab import Lab, begun
from faultruns import committed, compare

from cgcnn.errors import UserError
from screening.store import load_header, load_records, verify

SECONDS = 400  # in which any command ends, on a busy machine too


@dataclass
class Outcome:
    """What trials of one kind came to.

    Attributes:
        faults: injected while there was something to disturb.
        lost: rows never written or never committed at the end.
        duplicated: rows that the manifest counts twice.
        wrong: rows with other bits than the undisturbed run at the end, or silently at any time.
        redone: blocks done again, for each kill.
        found: damages that `verify` named.
        harmless: damages that changed nothing that anyone reads.
        seconds: the longest that a process outlived its killed client, or a stopped command took to end.
        problems: whatever else was not as promised.
    """

    faults: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    redone: list[int] = field(default_factory=list)
    found: int = 0
    harmless: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add up two outcomes."""
        for name in ("faults", "lost", "duplicated", "wrong", "redone", "found", "harmless", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds = max(self.seconds, other.seconds)

    def check(self, holds: object, problem: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(problem)

    def end(self, run: Path | str, undisturbed: Path) -> None:
        """Prove a finished run, and compare it."""
        report = verify(str(run), space(str(run)))
        self.check(report.ok, report.text())
        self.compare(run, undisturbed)

    def compare(self, run: Path | str, undisturbed: Path) -> None:
        """Compare a finished run with an undisturbed one, bit for bit."""
        difference = compare(run, undisturbed)
        self.lost += difference.lost
        self.duplicated += difference.duplicated
        self.wrong += difference.wrong


@dataclass(frozen=True)
class Bench:
    """Where trials run.

    Attributes:
        lab: the command to disturb.
        undisturbed: a run that nothing happened to.
        life: seconds that it took.
    """

    lab: Lab
    undisturbed: Path
    life: float

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A place for one trial, gone after it."""
        path = self.lab.folder / f"trial-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def space(url: str) -> Callable[[int, int], object] | None:
    """The candidates of rows, by the space of the run itself."""
    from screening.plan import from_header

    try:
        return from_header(load_header(url), load_records(url)).candidates.identity
    except UserError:
        return None


def finish(bench: Bench, run: Path, outcome: Outcome) -> None:
    """Resume until the end, undisturbed, and compare."""
    screen = bench.lab.start(run)
    outcome.check(screen.wait(SECONDS) == 0, f"the last resume failed: {screen.said}")
    outcome.end(run, bench.undisturbed)


def after_stop(run: Path, log: Path, before: tuple[int, set[int]], outcome: Outcome) -> None:
    """What must hold once a client is gone; `before` is what the log and the manifest held when it began."""
    done = committed(run)
    outcome.redone.append(len({block for block, _ in begun(log)[before[0] :]} - done))
    outcome.check(before[1] <= done, "a committed block is committed no more")
    if run.exists():
        outcome.check(faultruns.promised_but_absent(run) == 0, "the manifest names a block that is not there")
