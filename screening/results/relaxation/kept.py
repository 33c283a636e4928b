"""What `relax_run` has left of a run's candidates, to be told beside what the model says of them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from cgcnn.files import open_regular, read_text
from screening.results.relaxation.folder import CANDIDATES, SETTINGS, name_candidates, usual_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from screening.store import Run


@dataclass(frozen=True)
class Kept:
    """Candidates that were relaxed.

    Attributes:
        calculator: Its name and version.
        rows: Index of a candidate → its row of ``candidates.csv``.
    """

    calculator: str
    rows: Mapping[int, Mapping[str, str]]

    def columns(self, indices: Iterable[int]) -> dict[str, list[str]]:
        """What is told of candidates: what each became; above the user's hull and gained by tilting, eV/atom; ΔV, %."""
        rows = [self.rows.get(index, {}) for index in indices]
        return {
            "relaxed_became": [_became(row) for row in rows],
            "relaxed_above_hull": [row.get("e_above_user_hull", "") for row in rows],
            "relaxed_gain": [row.get("gain_by_tilting", "") for row in rows],
            "relaxed_volume": [_percent(row.get("volume_change", "")) for row in rows],
        }


def read_kept(run: Run, folder: Path | None = None) -> Kept | None:
    """Read what the last relaxation of a run's candidates came to; None if there was none.

    Args:
        run: Finished or not.
        folder: Its directory; None for ``RUN-relaxed`` beside the run, unless that is of another run.

    Raises:
        UserError: The directory that was named holds no relaxations of this run.
    """
    place = folder or usual_place(run.target.url)
    found = None if place is None else _read(place, name_candidates(run))
    if folder is not None and found is None:
        raise UserError(
            f"`relaxed` {folder}: holds no relaxations of this run. Name the directory of a `screen relax`."
        )
    return found


def _read(place: Path, candidates: str) -> Kept | None:
    try:
        settings: dict[str, Any] = json.loads(read_text(place / SETTINGS))
        if settings["candidates"] != candidates:
            return None
        with io.TextIOWrapper(open_regular(place / CANDIDATES), encoding="utf-8", newline="") as file:
            return Kept(str(settings["calculator"]), {int(row["index"]): row for row in csv.DictReader(file)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _became(row: Mapping[str, str]) -> str:
    """What a candidate became; why it is not relaxed if it is not."""
    if not row or row["converged"] == "true":
        return row.get("became", "")
    return f"{row['became']} (not relaxed: {row['reason']})".strip()


def _percent(share: str) -> str:
    return f"{100 * float(share):.2f}" if share else ""
