"""Names of groups of elements, as they stand in lists of elements and in filters."""

from __future__ import annotations

from cgcnn.elements import FAMILIES, SYMBOLS, atomic_number

GROUPS: dict[str, tuple[int, ...]] = {
    **{name: tuple(map(SYMBOLS.index, symbols)) for name, symbols in FAMILIES.items()},
    "radioactive": (43, 61, *range(84, 101)),
    "toxic": tuple(map(SYMBOLS.index, ("Be", "As", "Cd", "Hg", "Tl", "Pb"))),
}
"""Name -> atomic numbers. `radioactive`: no stable isotope, Bi aside. `toxic`: carcinogens of category 1 or acutely
toxic in the harmonised classification of the EU (Regulation 1272/2008) by the element or most of its compounds."""


def group_members(name: str) -> tuple[int, ...] | None:
    """Return the atomic numbers of a group, by its name in any case; None if there is no such group."""
    return GROUPS.get(name.strip().lower())


def stable_members(name: str) -> tuple[int, ...] | None:
    """Return the members of a group without radioactive ones, such as Pm; all of a group that has no others."""
    members = group_members(name)
    return members and (tuple(z for z in members if z not in GROUPS["radioactive"]) or members)


def named_elements(text: str) -> tuple[int, ...]:
    """Read the atomic numbers of symbols and groups separated by commas, each once, ascending.

    Raises:
        UserError: One is neither.
    """
    names = (name.strip() for name in text.split(","))
    return tuple(sorted({z for name in names for z in group_members(name) or (atomic_number(name),)}))
