"""Show progress on stderr, and cards as text."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID, TextColumn
from rich.table import Table

from cgcnn.data.build import Builder, Rule, default_folder
from cgcnn.files import printable
from cgcnn.machine import cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cgcnn.models.card import Calibration, Card
    from cgcnn.network.settings import Settings
    from cgcnn.training.fit import EpochProgress


LINES = 10  # plain lines for each member
SECONDS = 10.0  # between plain lines of a counter


def _columns() -> list[ProgressColumn]:
    """Return the columns of bars, with descriptions as plain text."""
    return [TextColumn("{task.description}", markup=False), *Progress.get_default_columns()[1:]]


class Reporter:
    """A bar for each member in training, or lines if stderr is not a terminal; called after every epoch."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.bars = Progress(*_columns(), console=self.console, disable=not self.console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self.start = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, stage: str, member: int, progress: EpochProgress) -> None:
        """Show how far a member has come."""
        of = "" if "teachers" in stage else f" of {self.members}"
        name = printable(f"{stage}: member {member + 1}{of}")
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


def _losses(progress: EpochProgress) -> str:
    checked = "" if math.isnan(progress.validation) else f", validation {progress.validation:.4f}"
    return f"loss {progress.loss:.4f}{checked}"


class Counter:
    """A bar that counts finished items, or a line now and then if stderr is not a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.bars = Progress(*_columns(), console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bars.add_task(what, total=None)
        self.start = self.shown = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show how many items are done."""
        self.bars.update(self.task, completed=done, total=total)
        now = time.monotonic()
        if self.bars.disable and now - self.shown > SECONDS:
            self.shown = now
            self.console.print(f"{self.what}: {done} of {total}, {now - self.start:.0f} s", soft_wrap=True)


@contextmanager
def builder(settings: Settings, workers: int | None, cache: Path | None, *, no_cache: bool) -> Iterator[Builder]:
    """Make a builder of graphs for a network with these settings, from the options of `options.building`."""
    folder = None if no_cache else cache or default_folder()
    with Counter("building graphs") as report:
        note = report.console.print
        yield Builder(
            Rule.of(settings), workers or cores(), folder, report, lambda text: note(printable(text), soft_wrap=True)
        )


def show_card(card: Card) -> None:
    """Print a card to stdout."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(card):
        table.add_row(printable(name), printable(value))
    Console(soft_wrap=False, highlight=False, markup=False, emoji=False).print(table)


def _rows(card: Card) -> list[tuple[str, str]]:
    return [
        ("model", f"{card.name} (version {card.version}, {card.members} members)"),
        ("summary", card.summary),
        ("input", ": ".join(filter(None, [card.input, ", ".join(card.prototypes)]))),
        *([("elements", ", ".join(card.elements))] if card.elements else []),
        *(
            ("target", f"{t.name} ({t.unit or 'no unit'}){': ' + t.description if t.description else ''}")
            for t in card.targets
        ),
        ("label", card.label),
        ("hull", card.hull),
        *([("source", card.source)] if card.source else []),
        ("data", f"{card.data}; {card.training_size} rows trained on"),
        ("split", card.split),
        *_figures(card),
        *(("std", f"{c.target}: {_deviation(c)}, found on {c.split}") for c in card.calibrations),
        *(("odds", f"{o.target}: {o.factor:.3g} x odds^{o.power:.3g}, found on {o.split}") for o in card.odds),
        *(("reliability", text) for c in card.calibrations if (text := reliability(c))),
        *(("compare", text) for text in card.peers),
        *(("weakness", text) for text in card.weaknesses),
        ("retrain", card.recipe),
        ("licence", card.licence),
        ("settings", ", ".join(f"{k}={v}" for k, v in vars(card.settings).items() if k != "targets")),
        ("digest", card.digest),
    ]


def _figures(card: Card) -> list[tuple[str, str]]:
    """List each measured part of the rows, followed by one line for each target."""
    lines = []
    for split, kind in dict.fromkeys((metric.split, metric.input) for metric in card.metrics):
        lines.append(("measured on", f"{split}; {kind} input"))
        mine = [metric for metric in card.metrics if (metric.split, metric.input) == (split, kind)]
        for target in dict.fromkeys(metric.target for metric in mine):
            values = [f"{m.metric} {m.value:.4f} {m.unit}".rstrip() for m in mine if m.target == target]
            lines.append((f"  {target}", "; ".join(values)))
    return lines


def _deviation(calibration: Calibration) -> str:
    if calibration.support:
        spread, *_ = calibration.support[1:]
        return f"by the spread to the power of {spread:.2g}, the size, and how many training rows support each site"
    whole = f"√(({calibration.scale:.3g} x spread)² + {calibration.floor:.3g}²)"
    return whole + _factors(calibration)


def _factors(calibration: Calibration) -> str:
    factors = [factor for role in calibration.factors.values() for factor in role.values()]
    return f" x {min(factors):.2g} to {max(factors):.2g} by the elements" if factors else ""


def reliability(calibration: Calibration) -> str:
    """Describe how many labels the intervals hold; empty if the card does not know."""
    if not calibration.held:
        return ""
    held = ", ".join(f"{100 * level:g} % held {100 * share:.0f} %" for level, share in calibration.held.items())
    ends = calibration.by_element
    elements = f"; element by element 90 % held {100 * ends[0]:.0f} to {100 * ends[1]:.0f} %" if ends else ""
    return (
        f"{calibration.target}: intervals of {held}{elements}; each fifth of the rows with deviations from the others"
    )
