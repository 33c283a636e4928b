"""Element symbols, and the features that a network starts from, one row per atomic number."""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.periodic_table import Element

MAX_Z = 100
_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm
"""
# Index = atomic number. Written out so that reading compositions needs no pymatgen import.
SYMBOLS: tuple[str, ...] = ("", *_TABLE.split())
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if symbol}
_OXIDATION_STATES = tuple(range(-4, 9))
_LIST_OF_NAMES = """
hydrogen helium lithium beryllium boron carbon nitrogen oxygen fluorine neon sodium magnesium aluminium silicon
phosphorus sulfur chlorine argon potassium calcium scandium titanium vanadium chromium manganese iron cobalt nickel
copper zinc gallium germanium arsenic selenium bromine krypton rubidium strontium yttrium zirconium niobium molybdenum
technetium ruthenium rhodium palladium silver cadmium indium tin antimony tellurium iodine xenon caesium barium
lanthanum cerium praseodymium neodymium promethium samarium europium gadolinium terbium dysprosium holmium erbium
thulium ytterbium lutetium hafnium tantalum tungsten rhenium osmium iridium platinum gold mercury thallium lead bismuth
polonium astatine radon francium radium actinium thorium protactinium uranium neptunium plutonium americium curium
berkelium californium einsteinium fermium
"""
_NAMES = {name: SYMBOLS[number] for number, name in enumerate(_LIST_OF_NAMES.split(), 1)}
_NAMES |= {"aluminum": "Al", "cesium": "Cs", "sulphur": "S", "deuterium": "H", "tritium": "H"}

FAMILIES: dict[str, tuple[str, ...]] = {
    "alkali": ("Li", "Na", "K", "Rb", "Cs"),
    "alkaline-earths": ("Be", "Mg", "Ca", "Sr", "Ba"),
    "lanthanides": SYMBOLS[57:72],
    "rare-earths": ("Sc", "Y", *SYMBOLS[57:72]),
    "actinides": SYMBOLS[89:101],
    "3d": SYMBOLS[21:31],
    "4d": SYMBOLS[39:49],
    "5d": SYMBOLS[72:81],
    "platinum-metals": ("Ru", "Rh", "Pd", "Os", "Ir", "Pt"),
    "pnictogens": ("N", "P", "As", "Sb", "Bi"),
    "chalcogens": ("O", "S", "Se", "Te"),
    "halogens": ("F", "Cl", "Br", "I"),
    "noble-gases": ("He", "Ne", "Ar", "Kr", "Xe", "Rn"),
}
"""Groups of elements by name. Lanthanides include La and Lu, 3d to 5d the groups 3 to 12 (5d from Hf, so that no
lanthanide is named twice)."""

_ALSO = {
    "halide": "halogens",
    "chalcogenide": "chalcogens",
    "pnictide": "pnictogens",
    "lanthanoid": "lanthanides",
    "actinoid": "actinides",
    "alkalimetal": "alkali",
    "alkalineearthmetal": "alkaline-earths",
    "rareearthelement": "rare-earths",
    "rareearthmetal": "rare-earths",
    "noblegase": "noble-gases",
}
_ANIONS = {
    "oxide": "O", "sulfide": "S", "sulphide": "S", "selenide": "Se", "telluride": "Te", "nitride": "N", "hydride": "H",
    "fluoride": "F", "chloride": "Cl", "bromide": "Br", "iodide": "I",
}  # fmt: skip
_ORGANIC = re.compile(
    r"(?:ma|fa|ea|gua|gui|dma|tma|pea|bza|aze|imi|hza|hc\(nh2\)2|ch\(nh2\)2|(?:ch3)?nh[34]|ch3ch2nh3|c\d*h\d+n\d*(?:h\d*)?"
    r"|(?:ma|fa)[\d.].*|organic.*|[a-z-]*ammonium|formamidinium|guanidinium|imidazolium|azetidinium|hydrazinium)[+1]*"
)
_ION = re.compile(r"([A-Z][a-z]?)[\s^]*\(?(?:\d*[+-]+|[+-]\d+|[IVX]+)\)?")
_FORMULA = re.compile(r"(?:[A-Z][a-z]?[\d.]*)+")
MISSING = {"nan", "none", "null", "n/a", "na", "-", "--", "?", "."}
"""What marks a missing value, in lower case."""
_BEYOND = {"Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"}


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element symbol such as ``"Ti"``.

    Raises:
        UserError: The symbol is no element up to Z = 100.
    """
    try:
        return _NUMBERS[symbol]
    except KeyError:
        raise UserError(
            f"{symbol!r} is not the symbol of an element from H to {SYMBOLS[MAX_Z]} (Z = {MAX_Z}). "
            f"{_remedy(str(symbol))}"
        ) from None


@lru_cache(maxsize=1024)
def _remedy(given: str) -> str:
    """Say what to write instead of a text that is no symbol."""
    text = unicodedata.normalize("NFKC", given).strip()
    word = re.sub(r"[\s_-]+", "", text.casefold())
    if text in {'"', "\u3003", "''", "\u201d"}:
        return "Write out what the ditto mark stands for."
    if symbol := _one_symbol(text, word):
        return f"Write the symbol: {symbol}."
    if text.casefold() in MISSING:
        return "It marks a missing value; write a symbol such as Ca."
    return _remedy_of_several(text, word) or _similar(text, word)


def _one_symbol(text: str, word: str) -> str:
    """Return the symbol of the one element that a text clearly means: by another case, its name, number or ion.

    Else empty.
    """
    if text.isdecimal() and len(text) <= 3:
        return SYMBOLS[int(text)] if 0 < int(text) <= MAX_Z else ""
    if text.capitalize() in _NUMBERS:
        return text.capitalize()
    if word in _NAMES or word in _ANIONS:
        return _NAMES.get(word) or _ANIONS[word]
    if (ion := _ION.fullmatch(text)) and ion.group(1) in _NUMBERS:
        return ion.group(1)
    alone = text.rstrip("0123456789")
    return alone if alone in _NUMBERS else "H" if text in {"D", "T"} else ""


def _family(word: str) -> tuple[str, ...]:
    """Return the elements of a family that a word names, in the singular or plural."""
    stem = word.removesuffix("s")
    if stem in _ANIONS:
        return (_ANIONS[stem],)
    if stem == "transitionmetal":
        return (*FAMILIES["3d"], *FAMILIES["4d"], *FAMILIES["5d"])
    names = {re.sub("-", "", name).removesuffix("s"): name for name in FAMILIES}
    name = names.get(stem) or _ALSO.get(stem) or names.get(stem.removesuffix("e"))
    return FAMILIES[name] if name else ()


def _remedy_of_several(text: str, word: str) -> str:
    """Say what to write instead of several elements; empty if they are none."""
    if _ORGANIC.fullmatch(text.casefold().replace(" ", "")):
        return "Organic cations are not supported yet: each site takes one element."
    if family := _family(word):
        return f"Name the elements: {','.join(family)}."
    parts = [part for part in re.split(r"[\s;,/|+&]+", text) if part]
    if len(parts) > 1 and all(part in _NUMBERS for part in parts):
        return f"Separate several by commas: {','.join(parts)}."
    symbols = list(dict.fromkeys(re.findall("[A-Z][a-z]?", text)))
    if not _FORMULA.fullmatch(text) or not all(symbol in _NUMBERS for symbol in symbols):
        return ""
    return f"A site takes one element, not a formula: write {symbols[0]}, or several with commas: {','.join(symbols)}."


def _similar(text: str, word: str) -> str:
    """Ask for the symbol that a misspelt symbol or name may mean."""
    if text in _BEYOND:
        return "Heavier elements are not supported."
    if foreign := next((letter for letter in text if letter.isalpha() and not letter.isascii()), ""):
        return f"{foreign!r} is no Latin letter (U+{ord(foreign):04X})."
    if not text.isalpha() or len(text) > 3:
        close = get_close_matches(word, _NAMES, n=1, cutoff=0.8)
        return f"Did you mean {_NAMES[close[0]]} ({close[0]})?" if close else "Use symbols such as Ca or Ti."
    close = get_close_matches(text.capitalize(), SYMBOLS[1:], n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else "Use symbols such as Ca or Ti."


@lru_cache(maxsize=1)
def element_features() -> NDArray[np.float32]:
    """Return the features of every element up to Z = 100, from pymatgen's element data.

    They are: one-hot period, group and block; multi-hot common oxidation states; standardised continuous properties,
    each with an indicator for a missing value (which is then 0, the mean).

    Returns:
        (101, F) float32; row 0 is zero. No two rows from 1 on are equal.
    """
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns for each missing value; missing values are features here
        elements = [Element.from_Z(z) for z in range(1, MAX_Z + 1)]
        categories = np.array([_categories(element) for element in elements])
        continuous = np.array([_continuous(element) for element in elements])
    features = np.hstack([categories, _standardised(continuous), np.isnan(continuous)])
    features = features[:, features.std(axis=0) > 0]
    return np.vstack([np.zeros((1, features.shape[1])), features]).astype(np.float32)


def _categories(element: Element) -> list[float]:
    """Return period, group, block and common oxidation states as zeros and ones."""
    return [
        *_one_hot(element.row, range(1, 8)),
        # pymatgen puts the f block into group 3; it gets a column of its own
        *_one_hot(0 if element.block == "f" else element.group, range(19)),
        *_one_hot("spdf".index(element.block), range(4)),
        *(float(state in element.common_oxidation_states) for state in _OXIDATION_STATES),
    ]


def _one_hot(value: int, values: Sequence[int]) -> list[float]:
    return [float(value == v) for v in values]


def _continuous(element: Element) -> list[float]:
    """Return the continuous properties; NaN if pymatgen has no value."""
    shells = {"s": 0, "p": 0, "d": 0, "f": 0}
    filled = {"s": 2, "p": 6, "d": 10, "f": 14}
    for n, orbital, electrons in element.full_electronic_structure:
        if electrons < filled[orbital] or n == element.row:
            shells[orbital] += electrons
    ionisation = [*element.ionization_energies, math.nan, math.nan, math.nan]
    radii = list(element.ionic_radii.values())
    oxidation = element.common_oxidation_states or (math.nan,)
    return [
        _number(value)
        for value in (
            element.Z,
            element.mendeleev_no,
            element.X,
            element.electron_affinity,
            element.atomic_radius,
            element.atomic_radius_calculated,
            element.van_der_waals_radius,
            element.average_ionic_radius or math.nan,
            max(radii, default=math.nan),
            min(radii, default=math.nan),
            *(ionisation[i] for i in range(3)),
            element.molar_volume,
            element.melting_point,
            max(oxidation),
            min(oxidation),
            *shells.values(),
        )
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale columns to mean 0 and deviation 1 over the known values; unknown ones become 0."""
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    scaled: NDArray[np.float64] = np.nan_to_num((values - mean) / np.where(std > 0, std, 1.0))
    return scaled
