"""CIF files of a ranking."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from screening.results.table import Table

CIF_NAME = re.compile(r"[0-9]{4,}-.*-[0-9]+(-[abc0+-]{6})?\.(cif|vasp)")
"""Names of the CIF and POSCAR files of a ranking: rank, formula, index, and tilts if there are any."""


def write_cifs(table: Table, directory: Path, count: int) -> None:
    """Write the first candidates as CIF files, named by rank, formula and index.

    They have the predicted lattice constant; structures are written as they were given.

    Raises:
        UserError: The directory or a file in it cannot be written, or there are CIF files of another ranking in it.
    """
    rows = table.rows(count)
    names = [f"{row['rank']:04d}-{row['formula']}-{row['index']}.cif" for row in rows]
    try:
        refuse_other_cifs(directory, set(names))
        directory.mkdir(parents=True, exist_ok=True)
        for name, row in zip(names, rows, strict=True):
            write_whole(directory / name, table.plan.candidates.cif(row["index"], row.get("a_angstrom", float("nan"))))
    except OSError as error:
        raise UserError(f"`cif` {directory}: cannot be written: {error.strerror}.") from None


def refuse_other_cifs(directory: Path, names: set[str], setting: str = "cif") -> None:
    """Refuse a directory with the files of another ranking, which nobody could tell from those with these names.

    Raises:
        UserError: Naming one of them.
    """
    there = (path.name for path in directory.iterdir()) if directory.is_dir() else iter(())
    if others := sorted(name for name in there if CIF_NAME.fullmatch(name) and name not in names):
        kind = others[0].rpartition(".")[2].upper().replace("VASP", "POSCAR")
        raise UserError(
            f"`{setting}` {directory}: holds {len(others)} {kind} files of another ranking, such as {others[0]}. "
            "Name another directory, or empty this one."
        )
