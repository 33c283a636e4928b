"""Prototypes: fixed site positions to fill with elements, and the templates of their graphs. Geometry, no chemistry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
_REACH = 3.0  # in units of a: far enough for the complete shells of every prototype here


@dataclass(frozen=True)
class Prototype:
    """Ideal positions that candidates share.

    A candidate chooses an element for each site; all atoms of a site hold the same element. Sites of equal role must be
    interchangeable by the symmetry of the empty prototype (as are the three X of a cubic perovskite, and B and B' of a
    double perovskite), so that swapping their elements gives the same crystal.

    Attributes:
        name: Name in commands and cards.
        sites: Column names of species arrays.
        roles: Role of each site.
        atoms: Site of each atom, as its position in ``sites``; ascending.
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
        """(n_sites,) whether a site is one of the anions', X."""
        return np.array([role == "X" for role in self.roles])

    def canonical(self, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Sort the equal-role sites of species (n, n_sites): most frequent element first, then by atomic number."""
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
        """Average a table (R, 101) over the sites of each role of species (n, n_sites), and sum over roles, (n,)."""
        roles = self.role_index
        share = (1.0 / np.bincount(roles))[roles].astype(np.float32)  # (n_sites,)
        sums: NDArray[np.float32] = (table[roles, species] * share).sum(axis=1)
        return sums

    def structure(self, species: NDArray[np.uint8], a: float) -> Structure:
        """Build one candidate, species (n_sites,), as a pymatgen structure with lattice constant a in Å."""
        from pymatgen.core.structure import Structure

        return Structure(np.array(self.lattice) * float(a), [SYMBOLS[species[site]] for site in self.atoms], self.frac)

    def graph(self, species: NDArray[np.uint8], a: float = 1.0, neighbours: int = NEIGHBOURS) -> CrystalGraph:
        """Build the full graph of one candidate, species (n_sites,), with lattice constant a in Å."""
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


@dataclass(frozen=True, eq=False)
class Template:
    """The quotient graph that many candidates share, up to the elements and the lattice constant.

    A prototype has one for each way in which its sites can hold equal elements.

    Attributes:
        graph: Quotient for a = 1 Å, edges in the order of their targets; ``numbers`` hold the site of each node.
        node_of_site: (n_sites,) the node that stands for each site.
        role: (N,) int8, role of each node's site, as a position in `Prototype.role_names`.
    """

    graph: CrystalGraph
    node_of_site: NDArray[np.int64]
    role: NDArray[np.int8]


def templates(
    prototype: Prototype, species: NDArray[np.uint8], neighbours: int
) -> list[tuple[Template, NDArray[np.int64]]]:
    """Return the templates that candidates need, each with the rows (k,) that it serves, in ascending order.

    Args:
        prototype: The prototype of the candidates.
        species: (n, n_sites) atomic numbers.
        neighbours: As in `cgcnn.graphs.graph.CrystalGraph.from_structure`.
    """
    alike = _alike(species, prototype.role_index)
    found = []
    for kind in np.unique(alike):
        rows = np.flatnonzero(alike == kind)
        found.append((_template(prototype, _pattern(species[rows[0]], prototype.role_index), neighbours), rows))
    return found


def common_template(prototype: Prototype, species: NDArray[np.uint8], neighbours: int) -> Template:
    """Return the template that serves all candidates at once: only sites that are equal in each of them share a node.

    Arguments are as in `templates`. More nodes than a candidate needs do not change a network's output.
    """
    roles = prototype.role_index
    same = np.array([[(species[:, i] == species[:, j]).all() for j in range(len(roles))] for i in range(len(roles))])
    pattern = (same & (roles[:, None] == roles)).argmax(axis=1)
    return _template(prototype, tuple(pattern.tolist()), neighbours)


def nodes_of_sites(prototype: Prototype, species: NDArray[np.uint8], neighbours: int) -> NDArray[np.int64]:
    """Return the node of each site, (n, n_sites), in the batch that `GraphBatch.of_prototype` makes of these rows."""
    nodes = np.empty(species.shape, dtype=np.int64)  # within the row's graph
    sizes = np.empty(len(species), dtype=np.int64)
    for template, rows in templates(prototype, species, neighbours):
        nodes[rows], sizes[rows] = template.node_of_site, len(template.graph.numbers)
    return nodes + (np.cumsum(sizes) - sizes)[:, None]


def _alike(species: NDArray[np.uint8], roles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a bit for each pair of sites of one role, whether they hold the same element, (n,)."""
    pairs = [(i, j) for i, j in combinations(range(len(roles)), 2) if roles[i] == roles[j]]
    bits = np.zeros(len(species), dtype=np.int64)
    for bit, (i, j) in enumerate(pairs):
        bits |= (species[:, i] == species[:, j]).astype(np.int64) << bit
    return bits


def _pattern(row: NDArray[np.uint8], roles: NDArray[np.int64]) -> tuple[int, ...]:
    """Return for each site of one candidate the first site of the same role with the same element."""
    same = (row[:, None] == row) & (roles[:, None] == roles)  # (s, s)
    return tuple(same.argmax(axis=1).tolist())


@lru_cache(maxsize=64)
def _template(prototype: Prototype, pattern: tuple[int, ...], neighbours: int) -> Template:
    full = prototype.graph(np.array(pattern, dtype=np.uint8), neighbours=neighbours)
    first = np.searchsorted(prototype.atoms, np.arange(len(prototype.sites)))  # (n_sites,) an atom of each
    graph = full.quotient()
    return Template(graph, full.classes()[first], prototype.role_index[graph.numbers].astype(np.int8))
