"""The candidates of a ranking as crystals: where calculations start, and CIF files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn import __version__
from cgcnn.errors import UserError
from cgcnn.files import write_whole
from screening.candidates.kind import UNTILTED
from screening.chemistry.magnetism import guess_moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pymatgen.core.structure import Structure

    from screening.ranking.table import Ranking


CARRIED = (
    *("e_above_hull", "e_above_hull_std", "p_stable", "in_domain", "in_training"),
    *("a_angstrom", "tolerance_factor", "tau", "e_above_hull_cubic", "p_tilted", "band_gap"),
)
"""Columns of a ranking that a crystal carries as properties."""


@dataclass(frozen=True)
class Start:
    """A crystal from which a calculation starts.

    Attributes:
        name: Name of its file: rank, formula, index, and tilts if there are any.
        structure: The crystal. Its site properties are `site`, and `magmom` if an atom has a moment; its `properties`
            are where it comes from (`run`, `index`, `rank`, `model` …) and what is predicted for it.
    """

    name: str
    structure: Structure


def describe_run(table: Ranking) -> dict[str, Any]:
    """Collect what the crystals of a ranking say about where they come from."""
    return {
        "program": f"perovskite-screening {__version__}",
        "run": table.about.get("run", ""),
        "model": table.plan.model.name,
        "model_digest": table.plan.model.digest,
        "stable_at": table.plan.stable_at,
    }


def make_starts(
    table: Ranking,
    tilts: Sequence[str] = (UNTILTED,),
    *,
    count: int | None = None,
    conventional: bool = False,
) -> Iterator[Start]:
    """Make the crystals of a ranking, one for each candidate and tilt system, in order of rank.

    Args:
        table: The ranking.
        tilts: Tilt systems, see `cgcnn.graphs.tilts`.
        count: Number of candidates; None for all.
        conventional: Build the conventional cell of the space group rather than the smallest cell.

    Raises:
        UserError: The tilt system is unknown, or the candidates are structures, which have no octahedra to tilt.
    """
    candidates, about = table.plan.candidates, describe_run(table)
    for row in table.rows(count):
        for system in tilts:
            a = row.get("a_angstrom", np.nan)
            structure = candidates.structure(row["index"], a, system, conventional=conventional)
            turned = {"tilts": system} if candidates.site_groups else {}  # structures keep their own
            name = _stem(row) if system == UNTILTED else f"{_stem(row)}-{system}"
            yield Start(name, complete(structure, {**about, "rank": row["rank"], **describe(row), **turned}))


def _stem(row: Mapping[str, Any]) -> str:
    return f"{row['rank']:04d}-{row['formula']}-{row['index']}"


def describe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what a crystal says about its row of a ranking; its atoms already say which element is on which site."""
    names = {name: str(row[name]) for name in ("formula", "id") if name in row}
    return {"index": int(row["index"]), **names, **{name: _plain(row[name]) for name in CARRIED if name in row}}


def complete(structure: Structure, properties: Mapping[str, Any]) -> Structure:
    """Add initial magnetic moments and properties to a crystal."""
    moments = guess_moments(site.specie.symbol for site in structure)
    if moments:
        structure.add_site_property("magmom", moments)
    structure.properties.update(properties)
    return structure


def _plain(value: Any) -> bool | float | None:
    """Convert a value for JSON: None if there is none, and only the digits that single precision has."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    return None if np.isnan(value) else float(f"{value:.7g}")


CIF_NAME = re.compile(r"[0-9]{4,}-.*-[0-9]+(-[abc0+-]{6})?\.(cif|vasp)")
"""Names of the CIF and POSCAR files of a ranking: rank, formula, index, and tilts if there are any."""


def write_cifs(table: Ranking, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank, formula and index.

    Compositions have the predicted lattice constant; structures are as they were given.

    Raises:
        UserError: The directory or a file in it cannot be written, or it holds CIF files of another ranking.
    """
    rows = table.rows(count)
    names = [f"{_stem(row)}.cif" for row in rows]
    try:
        refuse_other_cifs(directory, set(names))
        directory.mkdir(parents=True, exist_ok=True)
        for name, row in zip(names, rows, strict=True):
            write_whole(directory / name, table.plan.candidates.cif(row["index"], row.get("a_angstrom", float("nan"))))
    except OSError as error:
        raise UserError(f"`cif` {directory}: cannot be written: {error.strerror}.") from None


def refuse_other_cifs(directory: Path, names: set[str], setting: str = "cif") -> None:
    """Refuse a directory with the files of another ranking, which would mix with those of these names.

    Raises:
        UserError: It holds such files; the message names one.
    """
    there = (path.name for path in directory.iterdir()) if directory.is_dir() else iter(())
    if others := sorted(name for name in there if CIF_NAME.fullmatch(name) and name not in names):
        kind = others[0].rpartition(".")[2].upper().replace("VASP", "POSCAR")
        raise UserError(
            f"`{setting}` {directory}: holds {len(others)} {kind} files of another ranking, such as {others[0]}. "
            "Name another directory, or empty this one."
        )
