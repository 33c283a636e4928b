"""The folder of a second opinion: a row for each candidate, a row for each relaxation, the final crystals."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn import __version__
from cgcnn.errors import UserError
from cgcnn.files import open_regular, read_text, write_csv, write_whole
from screening.candidates.kind import DECIMALS
from screening.export import Export, write_starts
from screening.ranking.crystals import CIF_NAME, Start
from screening.relax.crystal import Relaxed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from screening.relax.crystal import RelaxationTask
    from screening.relax.opinion import Opinion
    from screening.store import StoredRun


SETTINGS = "settings.json"
CANDIDATES = "candidates.csv"
RELAXATIONS = "relaxations"
WRITTEN = (SETTINGS, CANDIDATES, "relaxations.csv")
"""Files that every call writes."""
ASIDE = ("program", "run")
"""Settings that are recorded but decide nothing, and so may differ."""


def usual_place(url: str) -> Path | None:
    """Return the default directory for the results of a run; None if the run is not a local directory."""
    return None if "://" in url else Path(f"{url.removesuffix('/').removesuffix('.zarr')}-relaxed").absolute()


def name_candidates(run: StoredRun) -> str:
    """Compute a digest of the candidates of a run and of the model that ranks them."""
    named = json.dumps([run.header.space, run.header.records, run.header.model_digest], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Folder:
    """The directory of the results; each file appears whole or not at all.

    Attributes:
        path: The directory.
    """

    path: Path

    def open(self, settings: dict[str, Any]) -> None:
        """Make the directory, or check that it was made with the same settings.

        Args:
            settings: Everything that decides the result of a relaxation, as JSON values.

        Raises:
            UserError: It was made with other settings, holds other things, or cannot be written.
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
        except (OSError, ValueError, RecursionError):
            raise UserError(f"{kept}: cannot be read. Remove the directory, or name another.") from None
        for name, value in settings.items():
            if name not in ASIDE and found.get(name) != value:
                was = f"was relaxed with {name} {found.get(name)}, not {value}"
                raise UserError(f"`out` {self.path}: {was}. Name another directory.")

    def result_path(self, task: RelaxationTask) -> Path:
        """Return the file of a result."""
        return self.path / RELAXATIONS / f"{task.key}.json"

    def checkpoint_path(self, task: RelaxationTask) -> Path:
        """Return the checkpoint of a relaxation in progress."""
        return self.path / RELAXATIONS / f"{task.key}.checkpoint.json"

    def save(self, task: RelaxationTask, result: Relaxed) -> None:
        """Write a result and remove its checkpoint."""
        write_whole(self.result_path(task), json.dumps(result.to_json()))
        self.checkpoint_path(task).unlink(missing_ok=True)

    def load(self, task: RelaxationTask) -> Relaxed | None:
        """Read the result of a task; None if there is none."""
        try:
            return Relaxed.of_json(json.loads(read_text(self.result_path(task))))
        except (OSError, ValueError, TypeError, RecursionError):
            return None


@dataclass(frozen=True)
class RelaxedCandidates:
    """Candidates of a run that were relaxed.

    Attributes:
        calculator: Name and version of the calculator.
        rows: Index of a candidate → its row of ``candidates.csv``.
    """

    calculator: str
    rows: Mapping[int, Mapping[str, str]]

    def columns(self, indices: Iterable[int]) -> dict[str, list[str]]:
        """Look up what candidates became; energy above the user's hull and gain by tilting, eV/atom; ΔV, %."""
        rows = [self.rows.get(index, {}) for index in indices]
        return {
            "relaxed_became": [_became(row) for row in rows],
            "relaxed_above_hull": [row.get("e_above_user_hull", "") for row in rows],
            "relaxed_gain": [row.get("gain_by_tilting", "") for row in rows],
            "relaxed_volume": [_percent(row.get("volume_change", "")) for row in rows],
        }


def read_relaxed(run: StoredRun, folder: Path | None = None) -> RelaxedCandidates | None:
    """Read the results of the last relaxation of a run's candidates; None if there was none.

    Args:
        run: Finished or not.
        folder: Directory of the relaxation; None takes ``RUN-relaxed`` beside the run, if it is of this run.

    Raises:
        UserError: The given directory holds no relaxations of this run.
    """
    place = folder or usual_place(run.target.url)
    found = None if place is None else _read(place, name_candidates(run))
    if folder is not None and found is None:
        raise UserError(
            f"`relaxed` {folder}: holds no relaxations of this run. Name the directory of a `screen relax`."
        )
    return found


def _read(place: Path, candidates: str) -> RelaxedCandidates | None:
    try:
        settings: dict[str, Any] = json.loads(read_text(place / SETTINGS))
        if settings["candidates"] != candidates:
            return None
        with io.TextIOWrapper(open_regular(place / CANDIDATES), encoding="utf-8", newline="") as file:
            return RelaxedCandidates(
                str(settings["calculator"]), {int(row["index"]): row for row in csv.DictReader(file)}
            )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _became(row: Mapping[str, str]) -> str:
    """Say what a candidate became, and if it is not relaxed, why."""
    if not row or row["converged"] == "true":
        return row.get("became", "")
    return f"{row['became']} (not relaxed: {row['reason']})".strip()


def _percent(share: str) -> str:
    return f"{100 * float(share):.2f}" if share else ""


OF_MODEL = ("e_above_hull", "e_above_hull_std", "p_stable", "e_above_hull_cubic", "p_tilted", "a_angstrom")
"""Columns of the model beside the results of relaxations."""


def write_opinions(folder: Path, opinions: Sequence[Opinion], starts: Mapping[str, Start], calculator: str) -> None:
    """Write ``candidates.csv``, ``relaxations.csv``, and each candidate's lowest crystal to ``cif/``.

    Args:
        folder: Directory to write to.
        opinions: Candidates in order of rank.
        starts: Start of each relaxation, by its key.
        calculator: Name and version, for the CIF files.

    Raises:
        UserError: A file cannot be written.
    """
    rows = [candidate_row(opinion) for opinion in opinions]
    write_csv(folder / CANDIDATES, list(rows[0]), (list(row.values()) for row in rows))
    lines = [line for opinion in opinions for line in relaxation_rows(opinion)]
    if lines:
        write_csv(folder / "relaxations.csv", list(lines[0]), (list(line.values()) for line in lines))
    crystals = [_crystal(opinion.won, starts, calculator) for opinion in opinions if opinion.won]
    _clear(folder / "cif")
    write_starts([crystal for crystal in crystals if crystal], Export(folder / "cif", "cif"))


def candidate_row(opinion: Opinion) -> dict[str, str]:
    """Write the row of a candidate as texts; empty where there is nothing."""
    won, row = opinion.won, opinion.row
    named = {"rank": str(opinion.rank), "index": str(row["index"]), "formula": str(row["formula"])}
    named |= {"id": str(row["id"])} if "id" in row else {}
    model = {name: _number(row.get(name), DECIMALS[name]) for name in OF_MODEL}
    return (
        named
        | model
        | {
            "start": won.tilts if won else "",
            "became": (won.became or "no perovskite") if won else "",
            "converged": str(bool(won and won.converged)).lower(),
            "energy_per_atom": _number(won and won.energy_per_atom, 5),
            "gain_by_tilting": _number(opinion.gain, 5),
            "volume_per_atom": _number(won and won.volume, 4),
            "volume_change": _number(opinion.volume_change, 4),
            "a_relaxed": _number(opinion.a, 4),
            **_above(opinion),
            "reason": opinion.reason,
        }
    )


def _above(opinion: Opinion) -> dict[str, str]:
    """Write distance from the user's hull and decomposition; nothing without such a hull."""
    if opinion.phases is None:
        return {}
    above = opinion.above
    energy, products = (above.energy, above.decomposition) if above else (None, "")
    return {"e_above_user_hull": _number(energy, 5), "decomposition": products}


def relaxation_rows(opinion: Opinion) -> Iterator[dict[str, str]]:
    """Write a row for each relaxation of a candidate."""
    lowest = opinion.won.energy_per_atom if opinion.won else None
    for found in opinion.relaxations:
        known = found.energy_per_atom is not None and lowest is not None
        above = (found.energy_per_atom or 0.0) - (lowest or 0.0) if known else None
        ended = found.volume is not None
        yield {
            "rank": str(opinion.rank),
            "index": str(found.index),
            "formula": found.formula,
            "start": found.tilts,
            "became": (found.became or "no perovskite") if ended else "",
            "converged": str(found.converged).lower(),
            "steps": str(found.steps),
            "largest_force": _number(found.largest_force, 4),
            "energy_per_atom": _number(found.energy_per_atom, 5),
            "above_lowest": _number(above, 5),
            "volume_change": _number((found.volume or 0.0) / found.start_volume - 1 if ended else None, 4),
            "seconds": _number(found.seconds, 1),
            "reason": found.reason,
        }


def _crystal(won: Relaxed, starts: Mapping[str, Start], calculator: str) -> Start | None:
    from pymatgen.core.structure import Structure

    start = starts.get(f"{won.index}-{won.tilts or 'given'}")
    if won.structure is None or start is None:
        return None
    crystal = Structure.from_dict(won.structure)
    told = {"relaxed_with": calculator, "relaxed": won.converged, "energy_per_atom": won.energy_per_atom}
    crystal.properties.update({**start.structure.properties, **told, "became": won.became or "no perovskite"})
    return Start(start.name, crystal)


def _clear(folder: Path) -> None:
    """Remove the crystals of an earlier call, which may have had other lowest starts."""
    try:
        for path in folder.glob("*.cif"):
            if CIF_NAME.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}.") from None


def _number(value: Any, decimals: int) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"
