"""What is asked of a relaxation, and what came of it; both as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Task:
    """A structure to relax.

    Attributes:
        index: Of the candidate in the run.
        formula: Of the candidate.
        tilts: Tilt system of the start, by Glazer's symbol; empty of a structure that is taken as it was given.
        structure: The start, as pymatgen writes it.
    """

    index: int
    formula: str
    tilts: str
    structure: dict[str, Any]

    @property
    def key(self) -> str:
        """What tells it from the others of a run; the name of its files."""
        return f"{self.index}-{self.tilts or 'given'}"


@dataclass(frozen=True)
class Settings:
    """How to relax: cell and atoms together, by FIRE.

    Attributes:
        calculator: ``chgnet`` or ``module:factory``.
        folder: Where modules of the user's are looked for.
        fmax: Largest force, and stress as a force on the cell, at which a structure counts as relaxed, eV/Å.
        steps: At most so many.
    """

    calculator: str
    folder: str
    fmax: float = 0.05
    steps: int = 500

    def check(self) -> None:
        """Refuse what nothing could be relaxed with.

        Raises:
            UserError: Naming it.
        """
        if not 1e-4 <= self.fmax <= 1:
            raise UserError(f"`fmax` {self.fmax}: give a force between 0.0001 and 1 eV/Å, such as 0.05.")
        if self.steps < 1:
            raise UserError(f"`steps` {self.steps}: at least one.")


@dataclass(frozen=True)
class Relaxed:
    """What a relaxation came to.

    Attributes:
        index: Of the candidate in the run.
        formula: Of the candidate.
        tilts: Of the start, see `Task`.
        reason: Why there is no result, or why it does not count as relaxed; empty if it does.
        steps: That were taken.
        seconds: That they took.
        largest_force: That is left, eV/Å; None without a result.
        energy_per_atom: eV/atom, as the calculator has it; None without a result.
        start_volume: Å³/atom.
        volume: Å³/atom, at the end; None without a result.
        became: Order on B, family and Glazer's symbol, see `cgcnn.graphs.perovskite`; empty if it is no perovskite.
        structure: At the end, as pymatgen writes it; None without a result.
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
        """Whether it is relaxed."""
        return not self.reason

    @property
    def is_tilted(self) -> bool:
        """Whether it is a perovskite with rotated octahedra now."""
        return " tilted " in self.became

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
