"""What a user has already: formulas with or without ids, or crystals, found again in a ranking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.read import read
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cgcnn.data.sample import Sample
    from cgcnn.graphs.prototype import Prototype

    Reduced = tuple[tuple[int, int], ...]
    """Atoms of a reduced formula by atomic number, ascending."""

FORMULA = ("formula", "formula_pretty", "pretty_formula", "reduced_formula", "composition")
"""Names that a column of formulas may have; the first that is there counts."""

ID = ("id", "material_id", "mp_id", "mp-id", "task_id")
"""Names of columns that say what to call the compound, likewise."""

_WEIGHTS = np.random.default_rng(0).integers(1, 2**40, MAX_Z + 1)
"""A number for each element; sums of so many for the atoms of a cell are the same for the same composition only."""


@dataclass(frozen=True)
class Known:
    """Compounds that a user has, by composition; which element sits where does not count.

    They are notes on candidates, see `screening.candidates.notes`.

    Attributes:
        names: Reduced composition -> name; of several, all with blanks between.
    """

    names: Mapping[Reduced, str]
    columns: ClassVar[tuple[str, ...]] = ("known_as",)

    def texts(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, list[str]]:
        """The name of each of n rows that is known."""
        return {"known_as": self.names_of(rows["species"], prototype)}

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
        path: A file or folder as `cgcnn.data.read.read` takes it: CSV, JSON or JSON Lines with a column formula (or
            formula_pretty, as the Materials Project has it) and one that names the compound (id, material_id) if there
            is one, or whose rows hold crystals; CIF, POSCAR, extxyz, an ASE database, a folder of these. Crystals are
            called by their ids, or by the names of their files; formulas without an id by themselves.

    Raises:
        UserError: There is no such file or folder, or a row says no composition.
    """
    try:
        samples = read(path)
    except UserError as error:
        raise UserError(f"`known` {error}") from None
    found: dict[Reduced, dict[str, None]] = {}  # names in their order, each once
    for sample in samples:
        composition, name = _compound(sample, path)
        found.setdefault(composition, {})[name] = None
    return Known({composition: " ".join(names) for composition, names in found.items()})


def _compound(sample: Sample, path: Path) -> tuple[Reduced, str]:
    """Composition and name of a row or crystal."""
    formula = next((str(sample.labels[name]) for name in FORMULA if sample.labels.get(name)), "")
    if sample.form == "record" and not formula and not sample.labels.get("species"):
        columns = ",".join(name for name in sample.labels) or "none"
        raise UserError(f"`known` {path}: {sample.id} has no formula; its columns are {columns}.")
    named = next((str(sample.labels[name]) for name in ID if sample.labels.get(name)), "")
    if formula:
        return _reduced(formula, f"{path}, {sample.id}"), named or formula
    try:
        crystal = structure(sample.form, sample.content)
    except UserError as error:
        raise UserError(f"`known` {path}, {sample.id}: {error}") from None
    return _reduced(crystal.composition.reduced_formula, f"{path}, {sample.id}"), named or sample.id


def _reduced(formula: str, source: str) -> Reduced:
    """Atoms of the reduced formula; partial occupancies are none of ours."""
    from pymatgen.core.composition import Composition

    try:
        amounts = Composition(formula).reduced_composition.get_el_amt_dict()
        return tuple(sorted((SYMBOLS.index(symbol), round(amount)) for symbol, amount in amounts.items()))
    except ValueError:
        raise UserError(f"`known` {source}: {formula!r} is no formula. Write it as SrTiO3 or Cs2AgBiBr6.") from None


def _code_names(names: Mapping[Reduced, str], atoms: int) -> Iterator[tuple[int, str]]:
    """Code and name of each compound whose formula fills a cell of so many atoms."""
    for composition, name in names.items():
        cells, rest = divmod(atoms, sum(count for _, count in composition))
        if cells and not rest:
            yield int(sum(cells * count * _WEIGHTS[z] for z, count in composition)), name


def _codes(species: np.ndarray, prototype: Prototype) -> np.ndarray:
    counts = np.bincount(prototype.atoms)  # (n_sites,)
    codes: np.ndarray = (_WEIGHTS[species] * counts).sum(axis=1)
    return codes
