"""What every kind of candidates can do; a plan, an engine, a ranking need to know no more of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.card import Card
    from screening.candidates.columns import Field
    from screening.candidates.multisets import Species
    from screening.candidates.notes import Notes
    from screening.chemistry.oxidation import StateSet
    from screening.store import Column, Records

UNTILTED = "a0a0a0"
"""Glazer's symbol of octahedra that are not turned."""


@dataclass(frozen=True)
class Grain:
    """What decides how many candidates of a kind are handled at once; benchmarks/cluster.py has the costs behind it.

    Attributes:
        batch: Candidates that the model sees at once; blocks are a multiple of it.
        block: Candidates that are some seconds of a core's work: with these a block's fixed cost is nothing.
        per_worker: Candidates of a block for each worker there is, so that many workers do not end more blocks than
            one scheduler can pass on: 11 ms of a core's work.
        counted: Candidates up to which a dry run looks at every one; of more it looks at as many, evenly spread.
        sifted: Candidates whose chemistry is worked out at once, which bounds memory.
        few: Candidates that take less time than workers take to start, a second of a core's work or two.
    """

    batch: int
    block: int
    per_worker: int
    counted: int
    sifted: int
    few: int


class Candidates(Protocol):
    """What a screen is of: an enumerated space, the rows of a list, or structures. A candidate is an index."""

    @property
    def kind(self) -> str:
        """The kind, as the header of a run has it."""

    @property
    def count(self) -> int:
        """How many there are, exactly."""

    @property
    def grain(self) -> Grain:
        """How many are handled at once."""

    @property
    def definition(self) -> dict[str, Any]:
        """How they were named, as JSON values: with the kind and the records, they can be made again from it."""

    @property
    def records(self) -> Records | None:
        """What a run is given to keep of them; None of those that their definition makes."""

    @property
    def ranked(self) -> tuple[Column, ...]:
        """The columns of a ranking that hold what is known of a candidate."""

    @property
    def shown_by(self) -> tuple[str, ...]:
        """The columns of a run by which a ranking shows which candidate a row is."""

    @property
    def name_columns(self) -> tuple[str, ...]:
        """The columns of a ranking that name a candidate, beside its formula: its sites, or its id."""

    @property
    def remark_columns(self) -> tuple[Field, ...]:
        """The columns of a ranking that are worked out of a row, such as the oxidation states."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Names of the texts that came with each candidate, such as an id."""

    @property
    def map_sites(self) -> dict[str, int]:
        """The two sites that a map of a run is of, and their columns in `species`; empty without sites."""

    @property
    def site_groups(self) -> dict[str, tuple[int, ...]]:
        """Sites and roles -> their columns in `species`, a role with all of its sites; empty without sites."""

    def described(self, rows: Mapping[str, np.ndarray], states: StateSet) -> dict[str, NDArray[np.generic]]:
        """The chemical columns of rows of a run, for filters; none without sites."""

    @property
    def mixes_anions(self) -> bool:
        """Whether a cell may have several elements on X."""

    def columns(self, stable_at: float) -> tuple[Column, ...]:
        """All columns of a run.

        Args:
            stable_at: Energy above hull, eV/atom, up to which `p_stable` calls a candidate stable.
        """

    def identity(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The columns of a run that show which candidate a row is, of candidates [start, stop)."""

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """The texts that came with these candidates, by index, in the order of `text_columns`."""

    def labels(self, rows: Mapping[str, np.ndarray]) -> Mapping[str, pa.Array]:
        """Give the texts of n rows of a run with their `index`: formula, names of sites, remarks.

        Each column is an Arrow array (n,) of strings, or of numbers if they are notes; null where there is nothing.
        """

    def formula(self, atoms: NDArray[np.generic]) -> str:
        """Write the formula of one candidate, from its row of the first column of `shown_by`."""

    def noted(self, *notes: Notes) -> Self:
        """The same candidates with further remarks: what others have of their compositions."""

    def structure(self, index: int, a: float, tilts: str = UNTILTED, *, conventional: bool = False) -> Structure:
        """A candidate as a crystal of pymatgen; compositions with the site of each atom as site property and label.

        Args:
            index: Which.
            a: Its predicted lattice constant, Å, where a ranking has one.
            tilts: How octahedra are turned, see `cgcnn.graphs.tilts`.
            conventional: The usual cell of the space group rather than the smallest.

        Raises:
            UserError: There is no such tilt system, or the candidate is a structure, which has no octahedra to turn.
        """

    def cif(self, index: int, a: float) -> str:
        """Write a candidate as CIF, in its smallest cell; a is the lattice constant, Å, where a ranking has one."""

    def unfit(self, card: Card) -> str:
        """Why a model is not for these candidates; empty if it is."""


class Compositions(Candidates, Protocol):
    """Candidates that are elements on the sites of a prototype."""

    @property
    def prototype(self) -> str:
        """Name of the prototype, such as "cubic-perovskite"."""

    @property
    def ideal(self) -> Prototype:
        """The structure that every candidate takes."""

    @property
    def notes(self) -> tuple[Notes, ...]:
        """What others have of these compositions."""

    def decode(self, start: int, stop: int) -> Species:
        """The candidates [start, stop): atomic numbers on their sites, (n, n_sites), canonical; 0 in unusable rows."""

    def unusable(self, start: int, stop: int) -> dict[int, str]:
        """Index -> reason of each of the candidates [start, stop) that is none."""


def read_columns(candidates: Candidates) -> tuple[str, ...]:
    """The columns of a run that a ranking reads."""
    return ("status", *candidates.shown_by, *(column.name for column in candidates.ranked))
