"""One relaxation of cell and atoms, by FIRE in ASE; a killed one resumes from its last checkpoint."""

from __future__ import annotations

import importlib
import io
import json
import math
import sys
import time
import warnings
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from cgcnn.errors import UserError
from cgcnn.files import read_text, write_whole
from cgcnn.graphs.perovskite import find_perovskite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class RelaxationTask:
    """A structure to relax.

    Attributes:
        index: Number of the candidate in the run.
        formula: Formula of the candidate.
        tilts: Glazer's symbol of the start; empty for a structure, which starts as it was given.
        structure: The start, as a pymatgen dictionary.
    """

    index: int
    formula: str
    tilts: str
    structure: dict[str, Any]

    @property
    def key(self) -> str:
        """The name of its files, unique within a run."""
        return f"{self.index}-{self.tilts or 'given'}"


@dataclass(frozen=True)
class RelaxationSettings:
    """How to relax: cell and atoms together, by FIRE.

    Attributes:
        calculator: ``chgnet`` or ``module:factory``.
        folder: Folder of the user's modules.
        fmax: Largest force, and stress as a force on the cell, at which a structure counts as relaxed, eV/Å.
        steps: Largest number of steps.
    """

    calculator: str
    folder: str
    fmax: float = 0.05
    steps: int = 500

    def check(self) -> None:
        """Refuse settings with which nothing could be relaxed.

        Raises:
            UserError: A setting is out of range; the message names it.
        """
        if not 1e-4 <= self.fmax <= 1:
            raise UserError(f"`fmax` {self.fmax}: give a force between 0.0001 and 1 eV/Å, such as 0.05.")
        if self.steps < 1:
            raise UserError(f"`steps` {self.steps}: give at least one.")


@dataclass(frozen=True)
class Relaxed:
    """The result of a relaxation.

    Attributes:
        index: Number of the candidate in the run.
        formula: Formula of the candidate.
        tilts: Tilts of the start, see `RelaxationTask`.
        reason: Why there is no result, or why it is not relaxed; empty if it is.
        start_volume: Volume of the start, Å³/atom.
        steps: Steps taken.
        seconds: Time they took.
        largest_force: Largest force left, eV/Å; None without a result.
        energy_per_atom: Energy by the calculator, eV/atom; None without a result.
        volume: Final volume, Å³/atom; None without a result.
        became: Order on B, family and Glazer's symbol, see `cgcnn.graphs.perovskite`; empty if it is no perovskite.
        structure: Final structure, as a pymatgen dictionary; None without a result.
    """

    index: int
    formula: str
    tilts: str
    reason: str
    start_volume: float
    steps: int = 0
    seconds: float = 0.0
    largest_force: float | None = None
    energy_per_atom: float | None = None
    volume: float | None = None
    became: str = ""
    structure: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def converged(self) -> bool:
        """Whether the structure is relaxed."""
        return not self.reason

    @property
    def is_tilted(self) -> bool:
        """Whether the result is a perovskite with rotated octahedra."""
        return " tilted " in self.became

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a result that `to_json` wrote."""
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Write the result as JSON values."""
        return asdict(self)


CHGNET = "chgnet"
"""CHGNet (Deng et al., Nature Machine Intelligence 5, 1031, 2023): its energies are those of GGA and GGA+U with the
corrections MaterialsProject2020, so they compare with entries of the Materials Project. Its wheel has its weights."""
EXTRA = "pip install 'perovskite-screening[relax]'"


def name_calculator(spec: str) -> str:
    """Identify a calculator: the requested name, with a version if there is one.

    Raises:
        UserError: There is no such calculator, or a library that it needs is missing.
    """
    _require("ase")
    if spec == CHGNET:
        _require(CHGNET)
        return f"{CHGNET} {version(CHGNET)}"
    _find_factory(spec, str(Path.cwd()))
    try:
        return f"{spec} ({version(spec.partition(':')[0].partition('.')[0])})"
    except PackageNotFoundError:
        return spec


@lru_cache(maxsize=1)
def make_calculator(spec: str, folder: str) -> Any:
    """Make an ASE calculator, once in a process.

    Args:
        spec: ``chgnet``, or ``module:factory`` of a function without arguments that returns a calculator.
        folder: Folder of the user's modules, besides the installed ones.

    Raises:
        UserError: There is no such function.
    """
    with redirect_stdout(io.StringIO()):  # stdout belongs to the results
        return _chgnet() if spec == CHGNET else _find_factory(spec, folder)()


def _chgnet() -> Any:
    import torch
    from chgnet.model.dynamics import CHGNetCalculator

    torch.set_num_threads(1)  # workers are the parallelism
    return CHGNetCalculator(use_device=None if torch.cuda.is_available() else "cpu", on_isolated_atoms="ignore")


def _require(library: str) -> None:
    try:
        importlib.import_module(library)
    except ImportError:
        raise UserError(f"{library} is missing; {EXTRA}") from None


def _find_factory(spec: str, folder: str) -> Callable[[], Any]:
    """Import the function that a specification names.

    Raises:
        UserError: It does not name one.
    """
    module, _, name = spec.partition(":")
    if not name:
        raise UserError(
            f"`calculator` {spec}: unknown. Write {CHGNET}, or module:factory for your own function that returns an "
            "ASE calculator."
        )
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        factory: object = importlib.import_module(module)
        for part in name.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"`calculator` {spec}: cannot be imported ({' '.join(str(error).split())}).") from None
    if not callable(factory):
        raise UserError(f"`calculator` {spec}: not a function. Name one that returns an ASE calculator.")
    return factory


SAVED = 20
"""Steps from one checkpoint to the next."""
SWOLLEN, SHRUNKEN = 3.0, 0.4
"""Ratios to the volume of the start beyond which the crystal has fallen apart, and the relaxation stops."""


@dataclass
class _State:
    """The state of a relaxation; `steps` and `seconds` include those before an interruption."""

    atoms: Any
    steps: int = 0
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        where = {"cell": self.atoms.cell.tolist(), "positions": self.atoms.positions.tolist()}
        write_whole(path, json.dumps(where | {"steps": self.steps, "seconds": self.seconds}))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; without a sound one, from the start."""
        with suppress(OSError, ValueError, KeyError):
            saved = json.loads(read_text(path))
            cell, positions = np.array(saved["cell"], dtype=float), np.array(saved["positions"], dtype=float)
            if cell.shape == (3, 3) and positions.shape == self.atoms.positions.shape:
                self.atoms.set_cell(cell)
                self.atoms.set_positions(positions)
                self.steps, self.seconds = int(saved["steps"]), float(saved["seconds"])


def relax(task: RelaxationTask, settings: RelaxationSettings, checkpoint: Path) -> Relaxed:
    """Relax a structure; whatever goes wrong with it becomes the `reason` of the result.

    Args:
        task: What to relax.
        settings: How to relax.
        checkpoint: File of the state, written every `SAVED` steps; if it exists, the relaxation resumes from it.

    Raises:
        UserError: There is no such calculator, or the checkpoint cannot be written.
    """
    from pymatgen.core.structure import Structure

    calculator = make_calculator(settings.calculator, settings.folder)
    start = Structure.from_dict(task.structure)
    known = Relaxed(task.index, task.formula, task.tilts, "", start.volume / len(start))
    try:
        with warnings.catch_warnings(), threadpool_limits(1):  # cell matrices are 3 by 3: threads only wait
            warnings.simplefilter("ignore")  # calculators warn their authors
            state, reason, force = _descend(start, calculator, settings, checkpoint)
        found = replace(known, reason=reason, steps=state.steps, seconds=round(state.seconds, 3))
        return _described(found, start, state.atoms, force)
    except (MemoryError, UserError):  # the machine or the folder is at fault, not the crystal
        raise
    except Exception as error:  # noqa: BLE001  # becomes the reason: a calculator may raise anything
        return replace(known, reason=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _descend(
    start: Structure, calculator: Any, settings: RelaxationSettings, checkpoint: Path
) -> tuple[_State, str, float]:
    """Relax: return the final state, the reason why it is not relaxed, if so, and the largest force left, eV/Å."""
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
    """Explain why the atoms are no crystal any more; empty if they are. The volume is that of the start, Å³."""
    if not math.isfinite(atoms.get_potential_energy()):
        return "its energy is no finite number"
    ratio = atoms.get_volume() / volume
    if not SHRUNKEN < ratio < SWOLLEN:
        return f"it fell apart: its volume became {ratio:.2f} times what it was"
    return ""


def _described(found: Relaxed, start: Structure, atoms: Any, force: float) -> Relaxed:
    """Complete a result with energy, volume, structure, and what it became."""
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
        structure=json.loads(end.to_json()),  # as it will be read back
    )
