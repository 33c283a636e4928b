"""Prototypes: fixed site positions to be filled with elements. Geometry only; no chemistry."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.graph import NEIGHBOURS, CrystalGraph, Pairs, full_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

Triple = tuple[float, float, float]
_REACH = 3.0  # in units of a: far enough for complete shells of every prototype here


@dataclass(frozen=True)
class Prototype:
    """Ideal positions that candidates share.

    Sites are what a candidate chooses elements for; a site may have several atoms, which then hold the same element.
    Sites of equal role must be interchangeable by the symmetry of the empty prototype (the three X of a cubic
    perovskite are, and B and B' of a double perovskite), so that swapping their elements gives the same crystal.

    Attributes:
        name: Name in commands and cards.
        sites: Column names of species arrays.
        roles: Role of each site.
        atoms: The site of each atom, as its position in ``sites``; in ascending order.
        frac: Fractional coordinates of each atom.
        lattice: Lattice vectors as rows, in units of the lattice constant a.
    """

    name: str
    sites: tuple[str, ...]
    roles: tuple[str, ...]
    atoms: tuple[int, ...]
    frac: tuple[Triple, ...]
    lattice: tuple[Triple, Triple, Triple]

    @property
    def role_names(self) -> tuple[str, ...]:
        """Distinct roles, in the order of the sites."""
        return tuple(dict.fromkeys(self.roles))

    @property
    def role_index(self) -> NDArray[np.int64]:
        """(n_sites,) position in `role_names` of each site's role."""
        return np.array([self.role_names.index(role) for role in self.roles], dtype=np.int64)

    @property
    def on_x(self) -> NDArray[np.bool_]:
        """(n_sites,) whether a site is of the anions' role, X."""
        return np.array([role == "X" for role in self.roles])

    def canonical(self, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Species (n, n_sites) with equal-role sites sorted: most frequent element first, then by atomic number."""
        result = np.array(species, dtype=np.uint8)
        for role in range(len(self.role_names)):
            columns = np.flatnonzero(self.role_index == role)
            values = result[:, columns]  # (n, k)
            count = (values[:, :, None] == values[:, None, :]).sum(axis=2)  # (n, k)
            order = np.argsort((len(columns) - count) * 256 + values, axis=1, kind="stable")
            result[:, columns] = np.take_along_axis(values, order, axis=1)
        return result

    def candidates(self, elements: Mapping[str, str | Iterable[str]]) -> NDArray[np.uint8]:
        """Return the species (n, n_sites) of every candidate with these elements on the sites of each role.

        The sites of anions, X, hold one element in each candidate. Several sites of cations hold different elements,
        such as B and B' of a double perovskite, and no candidate comes twice.

        Args:
            elements: Role → one or several symbols.

        Raises:
            UserError: A role is missing, unknown, or has too few elements; or a symbol is no element.
        """
        unknown = [role for role in elements if role not in self.role_names]
        if unknown:
            known = ", ".join(self.role_names)
            raise UserError(f"{self.name} has no role {unknown[0]}; give elements for {known}")
        choices = []
        for role in self.role_names:
            given = elements.get(role, ())
            numbers = [atomic_number(symbol) for symbol in dict.fromkeys([given] if isinstance(given, str) else given)]
            sites = self.roles.count(role)
            if not numbers:
                raise UserError(f"{self.name}: no elements for {role}; give a symbol or several")
            if role != "X" and len(numbers) < sites:
                raise UserError(f"{self.name}: {role} takes {sites} different elements; {len(numbers)} given")
            choices.append([(z,) * sites for z in numbers] if role == "X" else list(combinations(numbers, sites)))
        columns = [i for role in self.role_names for i, of in enumerate(self.roles) if of == role]
        rows = np.array([list(chain(*chosen)) for chosen in product(*choices)], dtype=np.uint8)
        species = np.empty_like(rows)
        species[:, columns] = rows
        return species

    def role_sums(self, table: NDArray[np.float32], species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) sum over the roles of the mean over their sites of table (R, 101), for species (n, n_sites)."""
        roles = self.role_index
        share = (1.0 / np.bincount(roles))[roles].astype(np.float32)  # (n_sites,)
        sums: NDArray[np.float32] = (table[roles, species] * share).sum(axis=1)
        return sums

    def structure(self, species: NDArray[np.uint8], a: float) -> Structure:
        """The crystal of one candidate, species (n_sites,), as a pymatgen structure with lattice constant a in Å."""
        from pymatgen.core.structure import Structure

        return Structure(np.array(self.lattice) * float(a), [SYMBOLS[species[site]] for site in self.atoms], self.frac)

    def graph(self, species: NDArray[np.uint8], a: float = 1.0, neighbours: int = NEIGHBOURS) -> CrystalGraph:
        """Full graph of one candidate, species (n_sites,), with lattice constant a in Å."""
        lattice, frac = np.array(self.lattice), np.array(self.frac)
        cells = np.array(list(product(range(-4, 5), repeat=3)))  # (C, 3)
        delta = (frac[None, :, None, :] + cells[None, None, :, :] - frac[:, None, None, :]) @ lattice  # (s, s, C, 3)
        length = np.linalg.norm(delta, axis=-1)
        target, source, cell = np.nonzero((length < _REACH) & (length > 0))
        pairs = Pairs(source, target, length[target, source, cell] * a, _REACH * a)
        return full_graph(species[list(self.atoms)], pairs, neighbours=neighbours)


CUBIC_PEROVSKITE = Prototype(
    name="cubic-perovskite",
    sites=("A", "B", "X1", "X2", "X3"),
    roles=("A", "B", "X", "X", "X"),
    atoms=(0, 1, 2, 3, 4),
    frac=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)),
    lattice=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
)
DOUBLE_PEROVSKITE = Prototype(
    name="double-perovskite",
    sites=("A", "B", "B'", "X"),
    roles=("A", "B", "B", "X"),
    atoms=(0, 0, 1, 2, 3, 3, 3, 3, 3, 3),
    frac=(
        *((0.25, 0.25, 0.25), (0.75, 0.75, 0.75), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
        *((0.75, 0.25, 0.25), (0.25, 0.75, 0.75), (0.25, 0.75, 0.25)),
        *((0.75, 0.25, 0.75), (0.25, 0.25, 0.75), (0.75, 0.75, 0.25)),
    ),
    lattice=((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)),
)
"""A2BB'X6 with B and B' in rock-salt order (elpasolite, Fm-3m, X midway between them). Its a is the distance of
neighbouring B and B', half the edge of the conventional cell, so that it compares with that of a single perovskite."""
PROTOTYPES = {prototype.name: prototype for prototype in (CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE)}
