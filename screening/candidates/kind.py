"""The protocol of candidates and the columns of a run: plan, engine and ranking rely on no more than this."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from cgcnn.errors import UserError
from cgcnn.models.card import read_card, shipped
from screening.status import Status
from screening.store.shard import Column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.card import Card
    from screening.store import Records


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes:
        name: Name in the header of the ranked CSV.
        kind: "number", "integer", "flag", or "text".
        unit: Unit of the values; empty if they have none.
        description: Meaning.
        decimals: Decimals of numbers in files; None writes all digits.
    """

    name: str
    kind: Literal["number", "integer", "flag", "text"]
    unit: str = ""
    description: str = ""
    decimals: int | None = None


SORTABLE = (
    Column("e_above_hull", "float32", "eV/atom", "predicted energy above hull", math.nan),
    Column("e_above_hull_std", "float32", "eV/atom", "standard deviation of that prediction", math.nan),
    Column("p_stable", "float32", "", "probability of an energy above hull up to the threshold", math.nan),
    Column("in_domain", "bool", "", "trained on each element (on this site) and the like", fill=False),
    Column("a_angstrom", "float32", "Å", "predicted lattice constant: the distance of neighbouring B", math.nan),
    Column("tolerance_factor", "float32", "", "Goldschmidt tolerance factor t", math.nan),
    Column("octahedral_factor", "float32", "", "octahedral factor rB/rX", math.nan),
    Column("tau", "float32", "", "tolerance factor tau of Bartel et al. 2019", math.nan),
    Column("charge_balanced", "bool", "", "some oxidation states of the elements balance", fill=False),
    Column("radii_imputed", "bool", "", "an ionic radius is not in Shannon's table for this site", fill=False),
    Column("in_training", "bool", "", "the model was trained on this very composition", fill=False),
    Column("domain_distance", "float32", "", "how new the newest element, or X as a whole, is to the model", math.nan),
    Column("state_reluctance", "float32", "", "log10 of the ions in the ICSD for one like the most unusual", math.nan),
    Column("redox", "float32", "V", "margin by which no ion oxidises another or the anion", math.nan),
    Column("known_e_above_hull", "float32", "eV/atom", "that of the training for this very composition", math.nan),
    Column("hhi", "float32", "", "Herfindahl-Hirschman index of the production of the elements", math.nan),
    Column(
        "known_is_bound", "bool", "", "known_e_above_hull is that of the cubic crystal; others may be lower", fill=False
    ),
)
"""Columns that every ranking of compositions has and can sort by, in the order of the ranked CSV."""

OF_SOME_MODELS = (
    Column("e_above_hull_cubic", "float32", "eV/atom", "predicted energy above hull of the cubic crystal", math.nan),
    Column("p_tilted", "float32", "", "probability that the octahedra of the lowest polymorph are tilted", math.nan),
    Column("band_gap", "float32", "eV", "predicted PBE band gap; experiments find about twice as much", math.nan),
    Column("band_gap_std", "float32", "eV", "standard deviation of that prediction", math.nan),
    Column(
        "a_experiment",
        "float32",
        "Å",
        "lattice constant to expect by experiment, from a and their mean ratio",
        math.nan,
    ),
    Column("p_perovskite", "float32", "", "probability that it is a perovskite, when it is made", math.nan),
    Column("p_leaves", "float32", "", "probability that relaxation leaves the ideal sites", math.nan),
    Column("e_if_stays", "float32", "eV/atom", "predicted energy above hull if it keeps them", math.nan),
    Column("e_if_leaves", "float32", "eV/atom", "predicted energy above hull if it leaves them", math.nan),
)
"""Further such columns, which not every model predicts; they follow the oxidation states in the ranked CSV."""

DECIMALS = {
    "e_above_hull": 5, "e_above_hull_std": 5, "p_stable": 4, "a_angstrom": 4,
    "tolerance_factor": 4, "octahedral_factor": 4, "tau": 4, "domain_distance": 3,
    "state_reluctance": 2, "redox": 2, "known_e_above_hull": 5, "hhi": 0,
    "e_above_hull_cubic": 5, "p_tilted": 4, "band_gap": 3, "band_gap_std": 3, "a_experiment": 4, "p_perovskite": 4,
    "p_leaves": 4, "e_if_stays": 5, "e_if_leaves": 5,
}  # fmt: skip
"""Decimals in the CSV."""


def split_ranked(ranked: Iterable[Column]) -> tuple[list[Column], list[Column]]:
    """Split the columns of a ranking into those before the texts that are worked out of a row, and those after."""
    columns = list(ranked)
    return [c for c in columns if c not in OF_SOME_MODELS], [c for c in columns if c in OF_SOME_MODELS]


STATUS = Column("status", "uint8", "", "how the candidate ended; see the run's status labels", Status.UNWRITTEN)
"""How each candidate ended."""


def with_threshold(columns: Iterable[Column], stable_at: float) -> tuple[Column, ...]:
    """Describe `p_stable` by its threshold, in eV/atom above hull; other columns stay as they are."""
    meaning = f"probability that the energy above hull is at most {stable_at:g} eV/atom"
    return tuple(replace(column, description=meaning) if column.name == "p_stable" else column for column in columns)


UNTILTED = "a0a0a0"
"""Glazer's symbol of untilted octahedra."""


@dataclass(frozen=True)
class Grain:
    """How many candidates of a kind to handle at once; `benchmarks/cluster.py` measures the costs behind the numbers.

    Attributes:
        batch: Candidates that the model sees at once; blocks are a multiple of it.
        block: Candidates that take a core a few seconds, beside which the fixed cost of a block does not count.
        per_worker: Candidates of a block for each worker, 11 ms of a core's work, so that many workers do not finish
            more blocks than one scheduler can handle.
        counted: Largest number of candidates of which a dry run looks at every one; it samples larger spaces evenly.
        sifted: Candidates whose chemistry is computed at once, which bounds memory.
        few: Candidates that take less time than workers take to start, one or two seconds of a core's work.
    """

    batch: int
    block: int
    per_worker: int
    counted: int
    sifted: int
    few: int


class Notes(Protocol):
    """A source of further columns for compositions, worked out when a ranking is made."""

    @property
    def columns(self) -> tuple[Field, ...]:
        """The columns, in order."""

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> Mapping[str, pa.Array]:
        """Return the values of n rows by column; null where there is nothing."""


class Candidates(Protocol):
    """What a screen is of: an enumerated space, the rows of a list, or structures. A candidate is an index."""

    @property
    def kind(self) -> str:
        """The kind, as the header of a run has it."""

    @property
    def count(self) -> int:
        """The exact number of candidates."""

    @property
    def grain(self) -> Grain:
        """How many candidates to handle at once."""

    @property
    def definition(self) -> dict[str, Any]:
        """How the user named them, as JSON values. Kind, definition and records are enough to make them again."""

    @property
    def records(self) -> Records | None:
        """What a run stores of them; None if the definition says it all."""

    @property
    def ranked(self) -> tuple[Column, ...]:
        """The columns of a run that a ranking shows and sorts by."""

    @property
    def shown_by(self) -> tuple[str, ...]:
        """The columns of a run from which `labels` and `formulas` are written."""

    @property
    def name_columns(self) -> tuple[str, ...]:
        """The columns of a ranking that name a candidate beside its formula: its sites, or its id."""

    @property
    def remark_columns(self) -> tuple[Field, ...]:
        """The columns of a ranking that are worked out of a row, such as the oxidation states."""

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The names of the texts that came with each candidate, such as an id."""

    @property
    def site_groups(self) -> dict[str, tuple[int, ...]]:
        """Sites and roles -> their columns in `species`, a role with all of its sites; empty for structures."""

    @property
    def mixes_anions(self) -> bool:
        """Whether a cell may have several elements on X."""

    def columns(self, stable_at: float) -> tuple[Column, ...]:
        """Return all columns of a run.

        Args:
            stable_at: Energy above hull, eV/atom, up to which `p_stable` calls a candidate stable.
        """

    def identity(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Compute the columns of a run that prove which candidate a row is, for candidates [start, stop)."""

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """Read the texts that came with these candidates, by index, in the order of `text_columns`."""

    def labels(self, rows: Mapping[str, np.ndarray]) -> Mapping[str, pa.Array]:
        """Write formula, names of sites and remarks of n rows of a run with their `index`.

        Each column is an Arrow array (n,) of strings, or of numbers if it comes from notes; null where there is
        nothing.
        """

    def formulas(self, atoms: NDArray[Any]) -> pa.Array:
        """Write the formulas of n candidates from their rows (n, …) of the first column of `shown_by`."""

    def noted(self, *notes: Notes) -> Self:
        """Return the same candidates with further notes; structures, which have no sites, take none."""

    def structure(self, index: int, a: float, tilts: str = UNTILTED, *, conventional: bool = False) -> Structure:
        """Build a candidate as a pymatgen crystal; each atom of a composition is labelled with its site.

        Args:
            index: Index of the candidate.
            a: Predicted lattice constant, Å, where a ranking has one.
            tilts: Tilt system of the octahedra, see `cgcnn.graphs.tilts`.
            conventional: Build the conventional cell of the space group rather than the smallest cell.

        Raises:
            UserError: The tilt system is unknown, or the candidate is a structure, which has no octahedra to tilt.
        """

    def cif(self, index: int, a: float) -> str:
        """Write a candidate as CIF, in its smallest cell; a is the lattice constant, Å, where a ranking has one."""

    def unfit(self, card: Card) -> str:
        """Explain why a model cannot screen these candidates; empty if it can."""


def read_columns(candidates: Candidates) -> tuple[str, ...]:
    """List the columns of a run that a ranking reads."""
    return ("status", *candidates.shown_by, *(column.name for column in candidates.ranked))


RULE = "mp; castelli where elements mix on X; mp-structures for structures"
"""The rule in words. It does not depend on the elements: naming one more changes neither model nor hull."""

PREFERRED = ("mp", "castelli", "mp-structures", "castelli-relaxed")


def default_model(candidates: Candidates) -> str:
    """Choose the model by `RULE`; if it is not shipped, the first of `PREFERRED` that takes the candidates.

    Raises:
        UserError: No shipped model takes them.
    """
    there = shipped()
    order = sorted(PREFERRED, key=lambda name: name != "castelli") if candidates.mixes_anions else PREFERRED
    for name in order:
        if name in there and not candidates.unfit(read_card(name)):
            return name
    raise UserError("no shipped model takes these candidates. Name a `model`.")
