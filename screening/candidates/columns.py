"""The columns of a run: what is known of each candidate, in which unit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from screening.status import Status
from screening.store.shard import Column

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Field:
    """A column of a table.

    Attributes:
        name: As in the header of the ranked CSV.
        kind: "number", "integer", "flag", or "text".
        unit: Of its values; empty without one.
        description: What it says.
        decimals: Of a number in files; all digits if None.
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
"""What a ranking holds of each candidate, and may be sorted by, in the order of the ranked CSV."""

OF_SOME_MODELS = (
    Column("e_above_hull_cubic", "float32", "eV/atom", "predicted energy above hull of the cubic crystal", math.nan),
    Column("p_tilted", "float32", "", "probability that the octahedra of the lowest polymorph are tilted", math.nan),
    Column("band_gap", "float32", "eV", "predicted band gap (GGA)", math.nan),
    Column("p_perovskite", "float32", "", "probability that it is a perovskite, when it is made", math.nan),
    Column("p_leaves", "float32", "", "probability that relaxation leaves the ideal sites", math.nan),
    Column("e_if_stays", "float32", "eV/atom", "predicted energy above hull if it keeps them", math.nan),
    Column("e_if_leaves", "float32", "eV/atom", "predicted energy above hull if it leaves them", math.nan),
)
"""The same of what not every model predicts; the ranked CSV has it after the oxidation states."""

DECIMALS = {
    "e_above_hull": 5, "e_above_hull_std": 5, "p_stable": 4, "a_angstrom": 4,
    "tolerance_factor": 4, "octahedral_factor": 4, "tau": 4, "domain_distance": 3,
    "state_reluctance": 2, "redox": 2, "known_e_above_hull": 5, "hhi": 0,
    "e_above_hull_cubic": 5, "p_tilted": 4, "band_gap": 3, "p_perovskite": 4,
    "p_leaves": 4, "e_if_stays": 5, "e_if_leaves": 5,
}  # fmt: skip
"""Decimals in the CSV."""


OF_STRUCTURES = SORTABLE[:4]
"""As `SORTABLE`, of structures, which have no sites to tell more of."""


def split_ranked(ranked: Iterable[Column]) -> tuple[list[Column], list[Column]]:
    """The columns of a ranking before the texts that are worked out of a row, and those after them."""
    columns = list(ranked)
    return [c for c in columns if c not in OF_SOME_MODELS], [c for c in columns if c in OF_SOME_MODELS]


STATUS = Column("status", "uint8", "", "how the candidate ended; see the run's status labels", Status.UNWRITTEN)
"""How each candidate ended."""


def with_threshold(columns: Iterable[Column], stable_at: float) -> tuple[Column, ...]:
    """Columns whose `p_stable` says of which energy above hull, eV/atom, it speaks."""
    meaning = f"probability that the energy above hull is at most {stable_at:g} eV/atom"
    return tuple(replace(column, description=meaning) if column.name == "p_stable" else column for column in columns)
