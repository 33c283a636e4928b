"""What is written of a second opinion: a row for each candidate, a row for each relaxation, the final crystals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from cgcnn.files import write_csv
from screening.candidates.columns import DECIMALS
from screening.results.exports.export import Export, write_starts
from screening.results.relaxation.folder import CANDIDATES
from screening.results.starts import Start
from screening.results.tables import CIF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from screening.results.relaxation.opinion import Opinion
    from screening.results.relaxation.records import Relaxed

OF_MODEL = ("e_above_hull", "e_above_hull_std", "p_stable", "e_above_hull_cubic", "p_tilted", "a_angstrom")
"""What the model said, told beside what relaxations say."""


def write_opinions(folder: Path, opinions: Sequence[Opinion], starts: Mapping[str, Start], calculator: str) -> None:
    """Write ``candidates.csv``, ``relaxations.csv`` and, of each candidate, the crystal that won to ``cif/``.

    Args:
        folder: Where.
        opinions: In order of rank.
        starts: Of each relaxation, by its key.
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
    """What there is to say of a candidate, as text; empty where there is nothing."""
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
    """The distance from the user's hull and the decomposition there, if there is such a hull."""
    if opinion.phases is None:
        return {}
    above = opinion.above
    energy, products = (above.energy, above.decomposition) if above else (None, "")
    return {"e_above_user_hull": _number(energy, 5), "decomposition": products}


def relaxation_rows(opinion: Opinion) -> Iterator[dict[str, str]]:
    """The same of each of a candidate's relaxations."""
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
    """Remove the crystals of an earlier call, which may have had other winners."""
    try:
        for path in folder.glob("*.cif"):
            if CIF_NAME.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}.") from None


def _number(value: Any, decimals: int) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"
