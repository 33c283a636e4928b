"""One relaxation: cell and atoms by FIRE in ASE; what is killed goes on from its last checkpoint."""

from __future__ import annotations

import io
import json
import math
import time
import warnings
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from cgcnn.errors import UserError
from cgcnn.files import read_text, write_whole
from cgcnn.graphs.perovskite import find_perovskite
from screening.results.relaxation.calculators import make_calculator
from screening.results.relaxation.records import Relaxed

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core.structure import Structure

    from screening.results.relaxation.records import Settings, Task

SAVED = 20
"""Steps from one checkpoint to the next."""
SWOLLEN, SHRUNKEN = 3.0, 0.4
"""Of the volume at the start; a crystal beyond is no crystal any more, and no use going on with."""


@dataclass
class _State:
    """Where a relaxation is; `steps` and `seconds` count those before an interruption, too."""

    atoms: Any
    steps: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        where = {"cell": self.atoms.cell.tolist(), "positions": self.atoms.positions.tolist()}
        write_whole(path, json.dumps(where | {"steps": self.steps, "seconds": self.seconds}))

    def load(self, path: Path) -> None:
        """Go on where a checkpoint is; without a sound one from the start."""
        with suppress(OSError, ValueError, KeyError):
            saved = json.loads(read_text(path))
            cell, positions = np.array(saved["cell"], dtype=float), np.array(saved["positions"], dtype=float)
            if cell.shape == (3, 3) and positions.shape == self.atoms.positions.shape:
                self.atoms.set_cell(cell)
                self.atoms.set_positions(positions)
                self.steps, self.seconds = int(saved["steps"]), float(saved["seconds"])


def relax(task: Task, settings: Settings, checkpoint: Path) -> Relaxed:
    """Relax a structure; whatever goes wrong with it becomes the reason of the result.

    Args:
        task: What to relax.
        settings: How.
        checkpoint: File of where it is, every `SAVED` steps; if it is there, the relaxation goes on from it.

    Raises:
        UserError: There is no such calculator, or the checkpoint cannot be written.
    """
    from pymatgen.core.structure import Structure

    calculator = make_calculator(settings.calculator, settings.folder)
    start = Structure.from_dict(task.structure)
    known = Relaxed(task.index, task.formula, task.tilts, "", start.volume / len(start))
    try:
        with warnings.catch_warnings(), threadpool_limits(1):  # matrices of the cell are 3 by 3: threads only wait
            warnings.simplefilter("ignore")  # of calculators to who wrote them
            state, reason, force = _descend(start, calculator, settings, checkpoint)
        found = replace(known, reason=reason, steps=state.steps, seconds=round(state.seconds, 3))
        return _described(found, start, state.atoms, force)
    except (MemoryError, UserError):  # the machine's fault, or the place's
        raise
    except Exception as error:  # noqa: BLE001  # becomes the reason: calculators raise whatever they like
        return replace(known, reason=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _descend(start: Structure, calculator: Any, settings: Settings, checkpoint: Path) -> tuple[_State, str, float]:
    """Where the relaxation ends, why it is not relaxed there, if so, and the largest force that is left, eV/Å."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    state = _State(AseAtomsAdaptor.get_atoms(start, msonable=False))
    state.load(checkpoint)
    state.atoms.calc = calculator
    before, seconds, begun = state.steps, state.seconds, time.monotonic()
    moving = FrechetCellFilter(state.atoms)
    with redirect_stdout(io.StringIO()), FIRE(moving, logfile=None) as optimizer:
        for converged in optimizer.irun(fmax=settings.fmax, steps=max(settings.steps - before, 0)):
            state.steps, state.seconds = before + optimizer.nsteps, seconds + time.monotonic() - begun
            reason = _broken(state.atoms, start.volume)
            if converged or reason:
                break
            if state.steps % SAVED == 0:
                state.save(checkpoint)
        force = float(np.linalg.norm(moving.get_forces(), axis=1).max())
    if not reason and not converged:
        reason = f"not relaxed after {state.steps} steps: a force of {force:.2f} eV/Å is left"
    return state, reason, force


def _broken(atoms: Any, volume: float) -> str:
    """Why a crystal is none any more, if so; volume is that at the start, Å³."""
    if not math.isfinite(atoms.get_potential_energy()):
        return "its energy is no finite number"
    ratio = atoms.get_volume() / volume
    if not SHRUNKEN < ratio < SWOLLEN:
        return f"it fell apart: its volume became {ratio:.2f} times what it was"
    return ""


def _described(found: Relaxed, start: Structure, atoms: Any, force: float) -> Relaxed:
    """The result with energy, volume, structure, and what it became."""
    energy = float(atoms.get_potential_energy()) / len(atoms)
    if not math.isfinite(energy):
        return found
    end = start.copy()
    end.lattice = atoms.cell.array
    for site, position in zip(end, atoms.get_scaled_positions(), strict=True):
        site.frac_coords = position
    kind = find_perovskite(end)
    return replace(
        found,
        largest_force=force,
        energy_per_atom=energy,
        volume=end.volume / len(end),
        became=kind.text if kind else "",
        structure=json.loads(end.to_json()),  # as it will be read
    )
