"""The tables of the folder `data` as arrays; `data/SOURCES.md` says where they come from.

Rows of the arrays are atomic numbers, columns oxidation states, from 0 to `MOST_CHARGE`.
"""

from __future__ import annotations

import csv
import lzma
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cgcnn.elements import MAX_Z, SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats = NDArray[np.float64]

MOST_CHARGE = 8
"""The largest oxidation state of the tables, that of Os8+."""

_PART = re.compile(r"([A-Z][a-z]?)([\d.]*)")

SHAPE = (MAX_Z + 1, MOST_CHARGE + 1)

NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}

ANIONS = ("O", "S", "Se", "Te", "F", "Cl", "Br", "I")
"""Anions for which it is known how often the ICSD has each ion with them."""


@cache
def icsd_entries() -> Floats:
    """Return entries of the ICSD with each positive oxidation state of each element, (101, 9)."""
    entries = np.zeros(SHAPE)
    for row in _rows("ions"):
        entries[NUMBERS[row["element"]], int(row["state"])] = float(row["icsd"])
    return entries


@cache
def icsd_shares(anion: int) -> Floats:
    """Return the share of each state among an element's ions with an anion, (101, 9).

    Args:
        anion: Its atomic number.

    Returns:
        NaN where the table does not know the ion, or has no such anion.
    """
    shares = np.full(SHAPE, np.nan)
    symbol = SYMBOLS[anion]
    if symbol in ANIONS:
        for row in _rows("ions"):
            if row[symbol]:
                shares[NUMBERS[row["element"]], int(row["state"])] = float(row[symbol])
    return shares


@cache
def reduction_potentials() -> tuple[tuple[int, int, int, str, float], ...]:
    """Standard reduction potentials: atomic number, state before, state after (0: the element), medium, V."""
    return tuple(
        (NUMBERS[row["element"]], int(row["high"]), int(row["low"]), row["medium"], float(row["volts"]))
        for row in _rows("potentials")
    )


@cache
def learned_radii() -> dict[tuple[int, int], dict[int, float]]:
    """Radii that Baloch et al. predicted: (atomic number, state) -> neighbours -> Å."""
    table: dict[tuple[int, int], dict[int, float]] = {}
    for row in _rows("radii"):
        ion = (NUMBERS[row["element"]], int(row["state"]))
        table.setdefault(ion, {})[int(row["neighbours"])] = float(row["angstrom"])
    return table


@cache
def crust() -> Floats:
    """Abundance in the earth's crust, mg/kg, (101,); 0 for elements that do not occur, or whose traces decay."""
    return _element_column("crust_ppm", missing=0.0)


@cache
def hhi() -> Floats:
    """Herfindahl-Hirschman index of the production of each element, 0 to 10,000, (101,); NaN where unknown."""
    return _element_column("hhi_production", missing=np.nan)


@cache
def formation_energies() -> dict[tuple[tuple[int, float], ...], tuple[float, bool]]:
    """Formation energies of well-known compounds: formula unit -> eV/atom, and whether MP2020 calculated it.

    A formula unit is atomic number and number of atoms of each element, ascending; what is not calculated is measured,
    at 298 K.
    """
    return {
        read_unit(row["formula"]): (float(row["formation_energy"]), row["source"] == "MP")
        for row in _rows("formation-energies")
    }


def read_ground_states() -> dict[tuple[tuple[int, float], ...], float]:
    """Read formation energies, eV/atom, of the phases that can be part of a hull of the Materials Project.

    Formula units are as those of `formation_energies`; elements are among them, with 0. benchmarks/hull_bound.py makes
    the table.
    """
    packed = (files(__package__) / "data" / "ground-states.csv.xz").read_bytes()
    _, *lines = lzma.decompress(packed).decode().splitlines()
    rows = (line.split(",") for line in lines)
    return {read_unit(formula): float(energy) for formula, energy in rows}


def read_unit(formula: str) -> tuple[tuple[int, float], ...]:
    """Read a formula without brackets, such as CaTiO3: atomic number and number of atoms of each element, ascending."""
    return tuple(sorted((NUMBERS[symbol], float(count or 1)) for symbol, count in _PART.findall(formula)))


def _element_column(name: str, missing: float) -> Floats:
    values = np.full(MAX_Z + 1, missing)
    for row in _rows("elements"):
        if row[name]:
            values[NUMBERS[row["element"]]] = float(row[name])
    return values


def _rows(table: str) -> Iterator[dict[str, str]]:
    with (files(__package__) / "data" / f"{table}.csv").open(encoding="utf-8") as lines:
        yield from csv.DictReader(lines)
