"""The columns of a report: short headings, and what each says in words that need no manual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening.candidates.columns import DECIMALS
from screening.results.known import GIVEN
from screening.results.user_hull import ABOVE, TARGET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from screening.store import Column

LABELS = {
    "rank": "#",
    "formula": "Formula",
    "e_above_hull": "E above hull",
    "e_above_hull_std": "± σ",  # noqa: RUF001  # sigma, as everybody writes it
    "p_stable": "P(≤{stable_at:g})",
    "in_domain": "In domain",
    "a_angstrom": "a",
    "tolerance_factor": "t",
    "octahedral_factor": "μ",
    "tau": "τ",
    "charge_balanced": "Charges balance",
    "radii_imputed": "Radii estimated",
    "in_training": "In training",
    "domain_distance": "Novelty",
    "state_reluctance": "Rarity of states",
    "redox": "Redox margin",
    "known_e_above_hull": "DFT in training",
    "known_is_bound": "Bound only",
    "known_source": "DFT by",
    "known_id": "Training row",
    "hhi": "HHI",
    "e_above_hull_cubic": "E cubic",
    ABOVE: "E above your hull",
    TARGET: "Formation energy",
    GIVEN: "E above hull, yours",
    "decomposition": "Decomposes into",
    "relaxed_became": "Relaxed to",
    "relaxed_above_hull": "E above your hull, relaxed",
    "relaxed_gain": "Gain by tilting, relaxed",
    "relaxed_volume": "ΔV, relaxed",
    "p_tilted": "P(tilted)",
    "band_gap": "Band gap",
    "p_perovskite": "P(perovskite)",
    "p_leaves": "P(leaves ideal)",
    "e_if_stays": "E if ideal",
    "e_if_leaves": "E if distorted",
    "states": "Oxidation states",
    "perovskite": "Kind of perovskite",
    "known_as": "You have",
    "id": "Id",
    "path": "File",
}
"""Headings; other columns are called as the CSV calls them."""

MEANINGS = {
    "rank": "place in the ranking of this report",
    "formula": "elements in the order of their sites",
    "in_domain": "the model was trained on each element on this kind of site; if not, the numbers mean little",
    "radii_imputed": "an ionic radius is not in the table for this site and was estimated, so t, μ and τ are rougher",
    "in_training": "the model was trained on this very composition, so its energy is hardly a prediction",
    "domain_distance": "0: each element, and the anions together, occur in the training; about 1: as new as a training "
    "element would be to the others; errors are larger than the deviation says where it is above 0",
    "state_reluctance": "how rare the rarest oxidation state here is in the ICSD, as a power of ten: 2 means 1 in 100",
    "redox": "by how many volts no ion oxidises another one or the anion; negative: it may react with itself",
    "known_e_above_hull": "energy above hull that was computed by DFT for this composition, and is in the training",
    "known_is_bound": "the DFT value is that of the cubic crystal; a tilted one may be lower",
    "known_source": "whose the DFT value in the training is",
    "known_id": "the id of its row in the training data",
    "hhi": "how concentrated the production of the elements is on few countries; above 2500 is highly concentrated",
    "tau": "tolerance factor of Bartel et al. 2019; perovskites are mostly below 4.18",
    "a_angstrom": "predicted lattice constant: distance of neighbouring B",
    ABOVE: "predicted energy above the hull of the competing phases that were given",
    TARGET: "predicted formation energy, from which that follows",
    "decomposition": "those of these phases that have the lowest energy together",
    "relaxed_became": "what the lowest of its relaxed crystals is, with its tilts",
    "relaxed_above_hull": "energy of that crystal above the hull of the competing phases that were given then",
    "relaxed_gain": "how much lower that is than the best untilted one",
    "relaxed_volume": "its volume compared with the predicted one",
    "states": "the most usual oxidation states that balance; none if empty",
    "perovskite": "what kind of perovskite the structure is, with its tilts; none if empty",
    GIVEN: "energy above hull that you have of it",
    "known_as": "what you have already, by this name",
    "id": "its name in what was screened",
    "path": "the file that it came from",
}
"""What columns say, where the run's own description is too short for a reader who has nothing else."""

FIRST = (
    *("formula", "id", "e_above_hull", "e_above_hull_std", "p_stable", "p_perovskite", "p_tilted", ABOVE),
    *("decomposition", "relaxed_became", "relaxed_above_hull", "relaxed_gain", "relaxed_volume"),
    *("e_above_hull_cubic", "e_if_stays", "e_if_leaves", "p_leaves", "in_training"),
    *("known_e_above_hull", "known_id", "known_as", GIVEN, "band_gap", "states", "perovskite"),
    *("tolerance_factor", "octahedral_factor", "tau", "a_angstrom", "in_domain"),
)
"""What a reader looks at first, in this order; the other columns come after these, sites behind the formula."""

FIRST_HIDDEN = frozenset((
    *(TARGET, "known_is_bound", "known_source", "octahedral_factor", "radii_imputed", "domain_distance"),
    *("state_reluctance", "redox", "hhi", "path"),
))  # fmt: skip
"""Columns that a reader may show, but does not see at first."""
MORE_DECIMALS = 3
"""Decimals of energies on the screen; files have more."""
NUMBERS = {
    **dict.fromkeys((ABOVE, TARGET, GIVEN, "relaxed_above_hull", "relaxed_gain"), ("eV/atom", MORE_DECIMALS)),
    "relaxed_volume": ("%", 1),
}
"""Unit and decimals of numbers that come as texts."""


def in_order(names: Iterable[str]) -> list[str]:
    """Columns in the order in which the page has them."""
    there = list(names)
    sites = [name for name in there[: there.index("e_above_hull")] if name not in {"formula", "id"}]
    order = ["formula", "id", *sites, *FIRST[2:]]
    return [name for name in order if name in there] + [name for name in there if name not in order]


def sort_words(sort: str, stable_at: float) -> str:
    """What a ranking is sorted by, such as ``tau:desc,e_above_hull``, in words."""
    keys = [key.strip().partition(":") for key in sort.split(",")]
    ways = {"asc": ", smallest first", "desc": ", largest first", "": ""}
    return ", then ".join(LABELS.get(name, name).format(stable_at=stable_at) + ways[way] for name, _, way in keys)


@dataclass(frozen=True)
class Shown:
    """A column as the page shows it.

    Attributes:
        name: Of the column, as in the CSV.
        label: Its heading.
        unit: Of its values.
        meaning: What it says.
        kind: "number", "flag" or "text".
        decimals: Of numbers, on the screen.
        hidden: A reader sees it only when it is asked for.
    """

    name: str
    label: str
    unit: str
    meaning: str
    kind: str
    decimals: int
    hidden: bool


def show_value(column: Column, stable_at: float) -> Shown:
    """A column of values of a run.

    Args:
        column: Of the run.
        stable_at: Threshold of `p_stable`, eV/atom.
    """
    name = column.name
    decimals = min(DECIMALS.get(name, MORE_DECIMALS), MORE_DECIMALS)
    return Shown(
        name=name,
        label=LABELS.get(name, name).format(stable_at=stable_at),
        unit=column.unit,
        meaning=MEANINGS.get(name, column.description),
        kind="flag" if column.dtype == "bool" else "number",
        decimals=decimals,
        hidden=name in FIRST_HIDDEN,
    )


def show_text(name: str, sites: Iterable[str]) -> Shown:
    """A column of texts: a formula, the element on a site, an id, or what came with a candidate."""
    label = LABELS.get(name, name)
    meaning = MEANINGS.get(name, f"element on {name}" if name in sites else "as it was given")
    if name in NUMBERS:
        unit, decimals = NUMBERS[name]
        return Shown(name, label, unit, meaning, "number", decimals, name in FIRST_HIDDEN)
    return Shown(name, label, "", meaning, "text", 0, name in FIRST_HIDDEN)
