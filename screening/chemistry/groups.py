"""Names of groups of elements, as they stand in lists of elements and in filters."""

from __future__ import annotations

from cgcnn.elements import SYMBOLS


def _numbers(symbols: str) -> tuple[int, ...]:
    return tuple(SYMBOLS.index(symbol) for symbol in symbols.split())


GROUPS: dict[str, tuple[int, ...]] = {
    "alkali": _numbers("Li Na K Rb Cs"),
    "alkaline-earths": _numbers("Be Mg Ca Sr Ba"),
    "lanthanides": tuple(range(57, 72)),
    "rare-earths": (21, 39, *range(57, 72)),
    "actinides": tuple(range(89, 101)),
    "3d": tuple(range(21, 31)),
    "4d": tuple(range(39, 49)),
    "5d": tuple(range(72, 81)),
    "platinum-metals": _numbers("Ru Rh Pd Os Ir Pt"),
    "pnictogens": _numbers("N P As Sb Bi"),
    "chalcogens": _numbers("O S Se Te"),
    "halogens": _numbers("F Cl Br I"),
    "noble-gases": _numbers("He Ne Ar Kr Xe Rn"),
    "radioactive": (43, 61, *range(84, 101)),
    "toxic": _numbers("Be As Cd Hg Tl Pb"),
}
"""Name -> atomic numbers. Lanthanides include La and Lu, 3d to 5d the groups 3 to 12 (5d from Hf, so that no lanthanide
is named twice). `radioactive`: no stable isotope, Bi aside. `toxic`: carcinogens of category 1 or acutely toxic in the
harmonised classification of the EU (Regulation 1272/2008) by the element or most of its compounds."""


def group_members(name: str) -> tuple[int, ...] | None:
    """Atomic numbers of a group, by its name in any case; None if there is no such group."""
    return GROUPS.get(name.strip().lower())


def named_elements(text: str) -> tuple[int, ...]:
    """Atomic numbers of symbols and groups separated by commas, each once, ascending.

    Raises:
        ValueError: One is neither.
    """
    numbers: set[int] = set()
    for name in text.split(","):
        members = group_members(name)
        if members is None and name.strip() not in SYMBOLS[1:]:
            raise ValueError(name)
        numbers.update(members or (SYMBOLS.index(name.strip()),))
    return tuple(sorted(numbers))
