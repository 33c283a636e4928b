"""Templates: the quotient graphs of a prototype, one for each way in which its sites can hold equal elements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.graphs.prototype import Prototype


@dataclass(frozen=True, eq=False)
class Template:
    """What the graphs of many candidates share: all but the elements and the lattice constant.

    Attributes:
        graph: Quotient for a = 1 Å, edges in the order of their targets; ``numbers`` hold the site of each node.
        node_of_site: (n_sites,) the node that stands for each site.
        role: (N,) int8, the role of each node's site, as a position in `Prototype.role_names`.
    """

    graph: CrystalGraph
    node_of_site: NDArray[np.int64]
    role: NDArray[np.int8]


def templates(
    prototype: Prototype, species: NDArray[np.uint8], neighbours: int
) -> list[tuple[Template, NDArray[np.int64]]]:
    """The templates that candidates need, each with the rows (k,) that it serves, in ascending order.

    Args:
        prototype: Of the candidates.
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
    """The template that serves all candidates at once: only sites that are equal in each of them share a node.

    Arguments as in `templates`. What it has more nodes than a candidate needs does not change a network's output.
    """
    roles = prototype.role_index
    same = np.array([[(species[:, i] == species[:, j]).all() for j in range(len(roles))] for i in range(len(roles))])
    pattern = (same & (roles[:, None] == roles)).argmax(axis=1)
    return _template(prototype, tuple(pattern.tolist()), neighbours)


def nodes_of_sites(prototype: Prototype, species: NDArray[np.uint8], neighbours: int) -> NDArray[np.int64]:
    """(n, n_sites) the node, in the batch that `GraphBatch.of_prototype` makes of these rows, of each site."""
    nodes = np.empty(species.shape, dtype=np.int64)  # within the row's graph
    sizes = np.empty(len(species), dtype=np.int64)
    for template, rows in templates(prototype, species, neighbours):
        nodes[rows], sizes[rows] = template.node_of_site, len(template.graph.numbers)
    return nodes + (np.cumsum(sizes) - sizes)[:, None]


def _alike(species: NDArray[np.uint8], roles: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) a bit for each pair of sites of one role, whether they hold the same element."""
    pairs = [(i, j) for i, j in combinations(range(len(roles)), 2) if roles[i] == roles[j]]
    bits = np.zeros(len(species), dtype=np.int64)
    for bit, (i, j) in enumerate(pairs):
        bits |= (species[:, i] == species[:, j]).astype(np.int64) << bit
    return bits


def _pattern(row: NDArray[np.uint8], roles: NDArray[np.int64]) -> tuple[int, ...]:
    """For each site of one candidate the first site of the same role with the same element."""
    same = (row[:, None] == row) & (roles[:, None] == roles)  # (s, s)
    return tuple(same.argmax(axis=1).tolist())


@lru_cache(maxsize=64)
def _template(prototype: Prototype, pattern: tuple[int, ...], neighbours: int) -> Template:
    full = prototype.graph(np.array(pattern, dtype=np.uint8), neighbours=neighbours)
    first = np.searchsorted(prototype.atoms, np.arange(len(prototype.sites)))  # (n_sites,) an atom of each
    graph = full.quotient()
    return Template(graph, full.classes()[first], prototype.role_index[graph.numbers].astype(np.int8))
