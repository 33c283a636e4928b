"""How the command line builds graphs: on all cores, with the user's cache, with a bar."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cgcnn.cli.progress import Counter
from cgcnn.data.build import Builder, Rule
from cgcnn.data.cache import default_folder
from cgcnn.machine import cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cgcnn.network.settings import Settings


@contextmanager
def builder(settings: Settings, workers: int | None, cache: Path | None, *, no_cache: bool) -> Iterator[Builder]:
    """A builder of the graphs that a network with these settings reads, by the options of `command_line.building`."""
    folder = None if no_cache else cache or default_folder()
    with Counter("building graphs") as report:
        note = report.console.print
        yield Builder(Rule.of(settings), workers or cores(), folder, report, lambda text: note(text, soft_wrap=True))
