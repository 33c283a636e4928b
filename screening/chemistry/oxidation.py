"""Oxidation states: which an element has beside which anions, and how unusual each is.

The reluctance of a state is the decadic logarithm of how many ions of the element the ICSD has for one in this state: 0
for the only one, 1 for one ion in ten. Half of it is counted over all compounds, half over those with the same anion,
where that is known: Ag3+ is an ion of fluorides, not of chlorides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.tables import open_table
from cgcnn.elements import SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.files import whole_number
from screening.chemistry.groups import GROUPS
from screening.chemistry.sources import MOST_CHARGE, NUMBERS, SHAPE, Floats, icsd_entries, icsd_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cgcnn.data.tables import Row, TextTable

LEAST_SHARE = 1e-3
"""Shares below count as this: what no entry of a table has is rare, not impossible."""

MOST_BESIDE = 1.5
"""How much more reluctant one anion makes a state: with some, the table has few compounds (of Ho and Br, none)."""

MOST_RELUCTANCE = {"common": 1.0, "icsd": 2.0, "all": 4.0}
"""Up to which reluctance a set of states goes: one ion in ten, one in a hundred, any that anybody tabulates."""

DEFAULT_SET = "icsd"

USUAL = 1.0
"""Reluctance up to which a state is usual: the element has it in a tenth of its compounds of this kind."""

MIXED = {"In": {2: (1, 3)}, "Tl": {2: (1, 3)}, "Au": {2: (1, 3)}, "Sb": {4: (3, 5)}, "Bi": {4: (3, 5)}}
"""Mean states that no ion has: an element alone on B splits into the two beside it, as in BaBi(III)Bi(V)O3,
CsTlCl3 and CsAuCl3 (Varma, Phys. Rev. Lett. 1988, 61, 2713; Retuerto et al., Chem. Mater. 2013, 25, 4071)."""

NO_IONS = {
    **{symbol: tuple(means) for symbol, means in MIXED.items()},
    "Sb": (1, 2, 4), "Bi": (1, 2, 4), "Ga": (2,), "Ge": (3,), "Sn": (3,), "Pb": (3,), "As": (4,),
    "I": (1, 2, 3, 4), "Br": (1, 2, 3, 4), "Te": (1, 2, 3, 5), "Se": (1, 2, 3, 5),
}  # fmt: skip
"""States that the ICSD counts and no single ion has: means of two states, and those of chains and clusters."""

DIVALENT = ("Dy", "Tm")
"""Lanthanides with halides of the state +2, such as CsDyBr3 and CsTmCl3 (Meyer, Chem. Rev. 1988, 88, 93), of which the
ICSD's counts know too few."""

OF_DIVALENT = 1.5
"""Their reluctance beside Cl, Br and I, at most: one ion in thirty."""

MIXING = 0.5
"""Reluctance of a mixed valence on top of the mean of its two states'."""


_COLUMNS = {"symbol": "element", "oxidationstate": "state", "oxidationnumber": "state", "charge": "state"}
"""Other names of the columns of a user's own states."""


@dataclass(frozen=True)
class StateSet:
    """Oxidation states to choose from.

    Attributes:
        name: "common", "icsd", "all", or that of a user's own.
        own: A user's own: (atomic number, its states) of each element that is not to take those of "icsd".
    """

    name: str = DEFAULT_SET
    own: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def definition(self) -> dict[str, Any]:
        """The set as JSON values, from which `states_of` makes it again."""
        return {"set": self.name, "own": {SYMBOLS[z]: list(states) for z, states in self.own}}


ICSD = StateSet()
"""The default set."""


def states_of(definition: Mapping[str, Any]) -> StateSet:
    """Make the set of a definition; the inverse of `StateSet.definition`."""
    own = ((NUMBERS[symbol], tuple(states)) for symbol, states in definition["own"].items())
    return StateSet(definition["set"], tuple(sorted(own)))


def read_states(choice: str | Path) -> StateSet:
    """Read the set of a name, or of a table with the columns element and state, a line each.

    Raises:
        UserError: It is neither, or a line holds no element and state from 1 to 8.
    """
    if str(choice) in MOST_RELUCTANCE:
        return StateSet(str(choice))
    own: dict[int, list[int]] = {}
    try:
        table = open_table(Path(choice))
    except UserError as error:
        raise UserError(f"oxidation states {error} Sets with a name are {', '.join(MOST_RELUCTANCE)}.") from None
    words = ("".join(filter(str.isalpha, name.casefold())) for name in table.header)
    names = [_COLUMNS.get(word, word) for word in words]
    if not names.count("element") == names.count("state") == 1:
        raise UserError(f"{choice}: its columns are {table.said}. Give the columns element and state, such as Fe,3.")
    for row in table.rows:
        z, state = _own_state(table, row, names.index("element"), names.index("state"))
        own.setdefault(z, []).append(state)
    if not own:
        raise UserError(f"{choice}: no states below the header. Give the columns element and state, such as Fe,3.")
    return StateSet(str(choice), tuple((z, tuple(sorted(set(states)))) for z, states in sorted(own.items())))


def _own_state(table: TextTable, row: Row, element: int, state: int) -> tuple[int, int]:
    """Read the atomic number and state of a row.

    Raises:
        UserError: It has none, or more than one.
    """
    if row.fault:
        raise UserError(f"{table.source}, {row.fault} Give each state a line of its own.")
    symbol, text = row.cells[element].strip(), row.cells[state].strip()
    try:
        z = NUMBERS.get(symbol) or atomic_number(symbol.capitalize() if symbol.islower() else symbol)
    except UserError as error:
        raise UserError(f"{table.where(row, element)}: {error}") from None
    number = whole_number(text.removeprefix("+").removesuffix("+"))
    if number is None or not 1 <= number <= MOST_CHARGE:
        raise UserError(
            f"{table.where(row, state)}: {text or 'nothing'} is no state from 1 to {MOST_CHARGE}. Give each state a "
            f"line of its own, such as {symbol},3."
        )
    return z, number


@lru_cache(maxsize=256)
def reluctances(anions: tuple[int, ...], states: StateSet = ICSD) -> Floats:
    """Tabulate the reluctance of every state of every element beside anions.

    Args:
        anions: Atomic numbers; several count alike.
        states: The set to choose from.

    Returns:
        (101, 9) by atomic number and state; infinite where the element has no such state or the set leaves it out.
    """
    beside = np.mean([_beside(anion) for anion in anions], axis=0)
    known = (_alone() + beside) / 2
    if set(anions) <= {NUMBERS[symbol] for symbol in ("Cl", "Br", "I")}:
        divalent = [NUMBERS[symbol] for symbol in DIVALENT]
        known[divalent, 2] = np.minimum(known[divalent, 2], OF_DIVALENT)
    if states.name == "all":
        known = np.where(_tabulated() & np.isinf(known), MOST_RELUCTANCE["all"], known)
    limit = MOST_RELUCTANCE.get(states.name, MOST_RELUCTANCE[DEFAULT_SET])
    first = known == known.min(axis=1, keepdims=True)  # an element's most usual state is in every set
    kept = np.where((known <= limit) | first, known, np.inf)
    for z, own in states.own:
        named = np.isin(np.arange(SHAPE[1]), own)
        kept[z] = np.where(named, np.where(np.isinf(known[z]), MOST_RELUCTANCE["all"], known[z]), np.inf)
    kept[:, 0] = np.inf
    kept[list(GROUPS["noble-gases"])] = np.inf
    return np.minimum(kept, np.where(np.isinf(kept), np.inf, MOST_RELUCTANCE["all"]))


def mixed_reluctances(single: Floats) -> Floats:
    """Tabulate mixed valences on one site in place of a mean state: reluctances (101, 9), infinite where there is none.

    Args:
        single: (101, 9) reluctances of the states themselves.
    """
    mixed = np.full(SHAPE, np.inf)
    for symbol, means in MIXED.items():
        for mean, (low, high) in means.items():
            mixed[NUMBERS[symbol], mean] = MIXING + (single[NUMBERS[symbol], low] + single[NUMBERS[symbol], high]) / 2
    return mixed


def ion_text(z: int, charge: int) -> str:
    """Write an ion, such as ``Ti4+``, ``Na+``, ``O2-``; ``Bi3+/Bi5+`` for a mixed valence.

    Args:
        z: Atomic number.
        charge: Oxidation state.
    """
    symbol = SYMBOLS[z]
    if charge in MIXED.get(symbol, {}):
        return "/".join(ion_text(z, state) for state in MIXED[symbol][charge])
    size = abs(charge)
    return f"{symbol}{size if size > 1 else ''}{'+' if charge > 0 else '-'}" if charge else symbol


def states_text(species: np.ndarray, charges: np.ndarray) -> str:
    """Write the ions of a candidate, such as ``Ca2+ Ti4+ O2-``; empty where no states balance.

    Args:
        species: (n_sites,) atomic numbers.
        charges: (n_sites,) oxidation states; all 0 where none balance.
    """
    return " ".join(dict.fromkeys(map(ion_text, species.tolist(), charges.tolist()))) if charges.any() else ""


@cache
def _alone() -> Floats:
    """Compute reluctances over all compounds (101, 9), mean states left out; infinite where there are none."""
    counted = icsd_entries().copy()
    for symbol, no_ions in NO_IONS.items():
        counted[NUMBERS[symbol], list(no_ions)] = 0
    total = counted.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(counted > 0, np.maximum(counted / total, LEAST_SHARE), 0)
        return np.asarray(np.where(counted > 0, -np.log10(shares), np.inf))


@cache
def _beside(anion: int) -> Floats:
    """Compute reluctances beside one anion (101, 9): those of all compounds for ions that the table does not know."""
    shares, alone = icsd_shares(anion), _alone()
    beside = -np.log10(np.maximum(np.nan_to_num(shares), LEAST_SHARE))
    return np.where(np.isnan(shares), alone, np.minimum(beside, alone + MOST_BESIDE))


@cache
def _tabulated() -> np.ndarray:
    """Mark the states that pymatgen or Shannon's table has, (101, 9)."""
    from pymatgen.core.periodic_table import Element

    from screening.chemistry.radii import shannon

    has = np.zeros(SHAPE, dtype=bool)
    for symbol, z in NUMBERS.items():
        if z >= SHAPE[0]:
            continue
        element = Element(symbol)
        states: Sequence[int] = [*element.common_oxidation_states, *element.icsd_oxidation_states, *shannon(z)]
        has[z, [int(q) for q in states if 0 < q <= MOST_CHARGE]] = True
    for symbol, no_ions in NO_IONS.items():
        has[NUMBERS[symbol], list(no_ions)] = False
    return has
