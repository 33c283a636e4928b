"""The directory of a second opinion: settings, a file for each relaxation, and what is made of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn import __version__
from cgcnn.errors import UserError
from cgcnn.files import read_text, write_whole
from screening.results.relaxation.records import Relaxed

if TYPE_CHECKING:
    from screening.results.relaxation.records import Task
    from screening.store import Run

SETTINGS = "settings.json"
CANDIDATES = "candidates.csv"
RELAXATIONS = "relaxations"
WRITTEN = (SETTINGS, CANDIDATES, "relaxations.csv")
"""Files that are written each time."""
ASIDE = ("program", "run")
"""Settings that may differ: they are told, and decide nothing."""


def usual_place(url: str) -> Path | None:
    """The directory of the results of a run unless another one is named; None of a run that is no local directory."""
    return None if "://" in url else Path(f"{url.removesuffix('/').removesuffix('.zarr')}-relaxed").absolute()


def name_candidates(run: Run) -> str:
    """A digest of the candidates of a run and of the model that ranks them."""
    named = json.dumps([run.header.space, run.header.records, run.header.model_digest], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Folder:
    """Where results are kept; each file appears whole or not at all.

    Attributes:
        path: The directory.
    """

    path: Path

    def open(self, settings: dict[str, Any]) -> None:
        """Make the directory, or find it made with the same settings.

        Args:
            settings: All that decides what a relaxation comes to; JSON values.

        Raises:
            UserError: It was made with others, is something else, or cannot be written.
        """
        kept = self.path / SETTINGS
        if kept.exists():
            self._compare(kept, settings)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"`out` {self.path}: holds other things. Name a new directory.")
        try:
            (self.path / RELAXATIONS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"`out` {self.path}: cannot be made ({error.strerror}). Name another place.") from None
        write_whole(kept, json.dumps({"program": __version__, **settings}, indent=1) + "\n")

    def _compare(self, kept: Path, settings: dict[str, Any]) -> None:
        try:
            found = json.loads(read_text(kept))
        except (OSError, ValueError):
            raise UserError(f"{kept}: cannot be read. Remove the directory, or name another.") from None
        for name, value in settings.items():
            if name not in ASIDE and found.get(name) != value:
                was = f"was relaxed with {name} {found.get(name)}, not {value}"
                raise UserError(f"`out` {self.path}: {was}. Name another directory.")

    def result_path(self, task: Task) -> Path:
        """The file of a result."""
        return self.path / RELAXATIONS / f"{task.key}.json"

    def checkpoint_path(self, task: Task) -> Path:
        """The file of a relaxation that is under way."""
        return self.path / RELAXATIONS / f"{task.key}.checkpoint.json"

    def save(self, task: Task, result: Relaxed) -> None:
        """Keep a result; its checkpoint is of no use any more."""
        write_whole(self.result_path(task), json.dumps(result.to_json()))
        self.checkpoint_path(task).unlink(missing_ok=True)

    def load(self, task: Task) -> Relaxed | None:
        """The result of a task, if there is one."""
        try:
            return Relaxed.of_json(json.loads(read_text(self.result_path(task))))
        except (OSError, ValueError, TypeError):
            return None
