"""What a user has already: formulas of a CSV file, or CIF files of a folder, found again in a ranking."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cgcnn.graphs.prototype import Prototype

FORMULA, ID = ("formula", "formula_pretty"), ("id", "material_id", "mp_id", "formula", "formula_pretty")
"""Columns of a CSV file, the first that is there: the formula, and what to call the compound."""

_WEIGHTS = np.random.default_rng(0).integers(1, 2**40, MAX_Z + 1)
"""A number for each element; sums of so many for the atoms of a cell are the same for the same composition only."""


@dataclass(frozen=True)
class Known:
    """Compounds that a user has, by composition; which element sits where does not count.

    Attributes:
        names: Atoms of the reduced formula by atomic number, ascending -> name.
    """

    names: Mapping[tuple[tuple[int, int], ...], str]

    def names_of(self, species: np.ndarray, prototype: Prototype) -> list[str]:
        """The name of each of species (n, n_sites) that is known, else an empty text."""
        codes = _codes(species, prototype).tolist()
        coded = self._coded(len(prototype.atoms))
        return [coded.get(code, "") for code in codes]

    def are_known(self, species: np.ndarray, prototype: Prototype) -> np.ndarray:
        """(n,) whether species (n, n_sites) are known."""
        return np.isin(_codes(species, prototype), list(self._coded(len(prototype.atoms))))

    def _coded(self, atoms: int) -> dict[int, str]:
        if atoms not in self._by_size:
            self._by_size[atoms] = dict(_code_names(self.names, atoms))
        return self._by_size[atoms]

    @cached_property
    def _by_size(self) -> dict[int, dict[int, str]]:
        return {}


def read_known(path: Path) -> Known:
    """Read what a user has.

    Args:
        path: A CSV file with a column formula (or formula_pretty), and one that names the compound (id, material_id)
            if there is one; or a folder of CIF files, which are called by their names.

    Raises:
        UserError: There is no such file or folder, or nothing in it says a composition.
    """
    found = dict(_of_folder(path) if path.is_dir() else _of_table(path))
    if not found:
        raise UserError(f"`known` {path}: holds no composition. Give a CSV file with a column formula, or CIF files.")
    return Known(found)


def _of_table(path: Path) -> Iterator[tuple[tuple[tuple[int, int], ...], str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or ()
            formula = next((name for name in FORMULA if name in header), None)
            if formula is None:
                raise UserError(f"`known` {path}: has no column formula; its columns are {','.join(header) or 'none'}.")
            name = next(name for name in ID if name in header)
            for row in reader:
                yield _reduced(row[formula] or "", f"{path}, line {reader.line_num}"), row[name] or ""
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"`known` {path}: cannot be read ({error}). Give a CSV file or a folder of CIF files."
        ) from None


def _of_folder(folder: Path) -> Iterator[tuple[tuple[tuple[int, int], ...], str]]:
    from gemmi import cif  # noqa: PLC0415  # only where CIF files are read

    for file in sorted(folder.glob("*.cif")):
        try:
            formula = cif.read(str(file))[0].find_value("_chemical_formula_sum") or ""
        except (RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"`known` {file}: no CIF file ({error}).") from None
        yield _reduced(cif.as_string(formula).replace(" ", ""), str(file)), file.stem


def _reduced(formula: str, source: str) -> tuple[tuple[int, int], ...]:
    """Atoms of the reduced formula by atomic number, ascending; partial occupancies are none of ours."""
    from pymatgen.core.composition import Composition  # noqa: PLC0415  # heavy; only where there is something known

    try:
        amounts = Composition(formula).reduced_composition.get_el_amt_dict()
        return tuple(sorted((SYMBOLS.index(symbol), round(amount)) for symbol, amount in amounts.items()))
    except ValueError:
        raise UserError(f"`known` {source}: {formula!r} is no formula. Write it as SrTiO3 or Cs2AgBiBr6.") from None


def _code_names(names: Mapping[tuple[tuple[int, int], ...], str], atoms: int) -> Iterator[tuple[int, str]]:
    """Code and name of each compound whose formula fills a cell of so many atoms."""
    for composition, name in names.items():
        cells, rest = divmod(atoms, sum(count for _, count in composition))
        if cells and not rest:
            yield int(sum(cells * count * _WEIGHTS[z] for z, count in composition)), name


def _codes(species: np.ndarray, prototype: Prototype) -> np.ndarray:
    counts = np.bincount(prototype.atoms)  # (n_sites,)
    codes: np.ndarray = (_WEIGHTS[species] * counts).sum(axis=1)
    return codes
