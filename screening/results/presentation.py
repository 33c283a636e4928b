"""What a user asks to have made of a run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.engine.block import stable_probability

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from screening.plan import Plan


@dataclass(frozen=True)
class Outputs:
    """What to make of a run.

    Attributes:
        sort: Column to rank by.
        stable_at: Threshold of `p_stable`, eV/atom; None keeps what the run has.
        top: How many candidates to keep; None keeps all, and shows `SHOWN`.
        csv: File for the ranking.
        cif: Directory for the CIF files of the candidates shown.
    """

    sort: str = "e_above_hull"
    stable_at: float | None = None
    top: int | None = None
    csv: Path | None = None
    cif: Path | None = None

    def check(self) -> None:
        """Find out before the work, not after it, that its results could not be written.

        Raises:
            UserError: Naming the option, the place and what is wrong with it.
        """
        if self.stable_at is not None and not math.isfinite(self.stable_at):
            raise UserError(f"--stable-at {self.stable_at}: not an energy. Give eV/atom, such as 0.05.")
        if self.csv is not None:
            _check_folder("--csv", self.csv, self.csv.absolute().parent)
            if self.csv.is_dir():
                raise UserError(f"--csv {self.csv}: is a directory. Name a file.")
        if self.cif is not None:
            above = next(folder for folder in (self.cif.absolute(), *self.cif.absolute().parents) if folder.exists())
            _check_folder("--cif", self.cif, above)

    def of(self, plan: Plan) -> Plan:
        """The plan with the threshold asked for."""
        return plan if self.stable_at is None else replace(plan, stable_at=self.stable_at)

    def of_block(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The columns of a block with `p_stable` for the threshold asked for."""
        if self.stable_at is None:
            return columns
        energy, deviation = columns["e_above_hull"], columns["e_above_hull_std"]
        return columns | {"p_stable": stable_probability(energy, deviation, self.stable_at)}


def _check_folder(option: str, path: Path, folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{option} {path}: there is no directory {folder}. Make it, or name another place.")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{option} {path}: {folder} is not writable. Name another place.")
