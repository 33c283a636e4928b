"""Crystal graphs with complete neighbour shells, their exact quotient, and the graphs of the published code.

Numpy only; pymatgen is touched through the structure that a caller passes in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure


CLOSEST = 0.4  # Å; nearer than any two atoms of a crystal
SHELL_TOLERANCE = 1e-2  # Å; neighbours this much farther than the k-th still belong to its shell
MERGE_TOLERANCE = 1e-3  # Å; distances this close count as equal in the quotient
PADDING = 1.0  # Å beyond the radius; where the published code puts missing neighbours
EQUAL = 1e-5  # Å; distances this close are equal in the quotient of its graphs, too close to change a prediction
NEIGHBOURS = 12
RADIUS = 8.0  # Å
_ISOTOPES = {"D": "H", "T": "H"}


@dataclass(frozen=True)
class CrystalGraph:
    """A crystal as nodes and directed edges (messages flow source → target).

    A node stands for ``multiplicity`` atoms; an edge stands for ``edge_multiplicity`` neighbours, all in the class of
    ``source`` and at the same distance, of *each* atom of ``target``. In a full graph every multiplicity is 1.

    Attributes:
        numbers: (N,) uint8, atomic numbers.
        multiplicity: (N,) int32, atoms in the class.
        source: (E,) int32, node that sends.
        target: (E,) int32, node that receives.
        distance: (E,) float32, Å.
        edge_multiplicity: (E,) int32, neighbours that the edge stands for.
    """

    numbers: NDArray[np.uint8]
    multiplicity: NDArray[np.int32]
    source: NDArray[np.int32]
    target: NDArray[np.int32]
    distance: NDArray[np.float32]
    edge_multiplicity: NDArray[np.int32]

    @classmethod
    def from_structure(
        cls,
        structure: Structure,
        *,
        neighbours: int = NEIGHBOURS,
        radius: float = RADIUS,
        tolerance: float = SHELL_TOLERANCE,
    ) -> CrystalGraph:
        """Build the full graph: each atom with every neighbour as near as its ``neighbours``-th, ± ``tolerance`` Å.

        Raises:
            UserError: Partial occupancy, an element without features, overlapping atoms, or an atom with fewer than
                ``neighbours`` neighbours inside ``radius`` Å.
        """
        numbers = atomic_numbers(structure)
        check_density(structure)
        target, source, _, distance = structure.get_neighbor_list(radius, exclude_self=True)
        if distance.min(initial=radius) < CLOSEST:
            i = int(distance.argmin())
            raise UserError(f"atoms {target[i]} and {source[i]} are {distance[i]:.2f} Å apart: they overlap")
        pairs = Pairs(source, target, distance, radius)
        return full_graph(numbers, pairs, neighbours=neighbours, tolerance=tolerance)

    def quotient(self, tolerance: float = MERGE_TOLERANCE) -> CrystalGraph:
        """Merge the nodes of each class of the coarsest equitable partition, and parallel edges.

        Classes start from the elements and are refined by the multiset of (neighbour class, distance) until stable.
        Message passing cannot tell apart the atoms of one class, so a network that weights by multiplicities gives the
        same answer on the quotient. Distances within ``tolerance`` Å count as equal.
        """
        bins = _distance_bins(self.distance, tolerance)
        return _contract(self, _equitable_partition(self, bins), bins)

    def classes(self, tolerance: float = MERGE_TOLERANCE) -> NDArray[np.int64]:
        """Return the node of `quotient` that each node belongs to, (N,)."""
        return _equitable_partition(self, _distance_bins(self.distance, tolerance))


@dataclass(frozen=True)
class Pairs:
    """All pairs of atoms within a radius.

    Attributes:
        source: (P,) int64, the neighbour.
        target: (P,) int64, the atom whose neighbour it is.
        distance: (P,) float64, Å.
        radius: The radius, Å.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    distance: NDArray[np.float64]
    radius: float


def full_graph(
    numbers: NDArray[np.uint8], pairs: Pairs, *, neighbours: int = NEIGHBOURS, tolerance: float = SHELL_TOLERANCE
) -> CrystalGraph:
    """Keep the complete shells of all pairs; see `CrystalGraph.from_structure`."""
    source, target, distance = pairs.source, pairs.target, pairs.distance
    counts = np.bincount(target, minlength=len(numbers))
    if counts.min(initial=neighbours) < neighbours:
        lonely = int(counts.argmin())
        raise UserError(
            f"atom {lonely} ({SYMBOLS[numbers[lonely]]}) has {counts[lonely]} neighbours within {pairs.radius:g} Å, "
            f"{neighbours} are needed: the atom is isolated or the cell is wrong"
        )
    order = np.lexsort((source, distance, target))
    source, target, distance = source[order], target[order], distance[order]
    first = np.cumsum(counts) - counts  # (N,) position of each atom's nearest neighbour
    limit = distance[first + neighbours - 1] + tolerance  # (N,)
    keep = distance <= limit[target]
    return CrystalGraph(
        numbers=np.asarray(numbers, dtype=np.uint8),
        multiplicity=np.ones(len(numbers), dtype=np.int32),
        source=source[keep].astype(np.int32),
        target=target[keep].astype(np.int32),
        distance=distance[keep].astype(np.float32),
        edge_multiplicity=np.ones(int(keep.sum()), dtype=np.int32),
    )


def atomic_numbers(structure: Structure) -> NDArray[np.uint8]:
    """Return the atomic number of each site, (N,); deuterium and tritium are hydrogen.

    Raises:
        UserError: Partial occupancy, or an element without features.
    """
    if not structure.is_ordered:
        raise UserError(f"{structure.formula}: a site is partially occupied; order the structure first")
    numbers = [int(getattr(site.specie, "Z", 0)) for site in structure]
    for site, number in zip(structure, numbers, strict=True):
        symbol = getattr(site.specie, "symbol", "")
        if not 1 <= number <= MAX_Z or SYMBOLS[number] != _ISOTOPES.get(symbol, symbol):
            raise UserError(f"{site.species_string!r} is not an element that models know (H to {SYMBOLS[MAX_Z]})")
    return np.array(numbers, dtype=np.uint8)


def check_density(structure: Structure) -> None:
    """Refuse a cell so full that atoms must overlap: its neighbours would fill the memory.

    Raises:
        UserError: The cell holds more atoms than a densest packing of spheres of diameter `CLOSEST`.
    """
    if len(structure) * CLOSEST**3 > math.sqrt(2) * structure.volume:
        raise UserError(f"{len(structure)} atoms in {structure.volume:.2g} Å³: they overlap; the cell is wrong")


def _distance_bins(distance: NDArray[np.float32], tolerance: float) -> NDArray[np.int64]:
    """Return the group of equal distances that each edge belongs to, (E,); a group spans at most ``tolerance``."""
    values, inverse = np.unique(distance, return_inverse=True)
    starts = np.flatnonzero(np.append(True, values[1:] > values[:-1] + tolerance)[: len(values)])
    stops = np.append(starts, len(values))[1:]
    bins = np.repeat(starts, stops - starts)
    for first, last in zip(starts, stops, strict=True):
        start = first
        while values[last - 1] > values[start] + tolerance:  # from the shortest up: a fixed grid would split equals
            start += int(np.searchsorted(values[start:last], values[start] + tolerance, side="right"))
            bins[start:last] = start
    return bins[inverse]


def _equitable_partition(graph: CrystalGraph, bins: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class of each node, (N,), stable under refinement."""
    _, classes = np.unique(graph.numbers, return_inverse=True)
    count = 0
    while (found := int(classes.max(initial=-1)) + 1) > count:
        count = found
        # A sum of scrambled 64-bit words stands for the multiset of (neighbour class, bin), whatever the order.
        words = _scramble(classes[graph.source] * (bins.max(initial=0) + 1) + bins) * graph.edge_multiplicity.astype(
            np.uint64
        )
        signature = np.zeros(len(classes), dtype=np.uint64)
        np.add.at(signature, graph.target, words)
        classes, _ = _numbered(classes, signature)
    return classes


def _numbered(*keys: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct rows of keys (n,) in sorted order; return each row's number (n,) and a row of each number."""
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), dtype=np.bool_)
    for key in keys:
        new[1:] |= key[order][1:] != key[order][:-1]
    new[:1] = True
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers, order[new]


def _scramble(keys: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Map keys one-to-one to well-mixed 64-bit words (splitmix64), so that their sums do not collide."""
    z = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _contract(graph: CrystalGraph, classes: NDArray[np.int64], bins: NDArray[np.int64]) -> CrystalGraph:
    """Make one node per class, with the edges of its first atom merged by (source class, bin)."""
    _, first = np.unique(classes, return_index=True)
    mine = np.flatnonzero(first[classes[graph.target]] == graph.target)
    target, source = classes[graph.target[mine]], classes[graph.source[mine]]
    group, one = _numbered(target, bins[mine], source)
    multiplicity = np.bincount(group, weights=graph.edge_multiplicity[mine])
    distance = np.bincount(group, weights=graph.edge_multiplicity[mine] * graph.distance[mine].astype(np.float64))
    return CrystalGraph(
        numbers=graph.numbers[first],
        multiplicity=np.bincount(classes, weights=graph.multiplicity).astype(np.int32),
        source=source[one].astype(np.int32),
        target=target[one].astype(np.int32),
        distance=(distance / multiplicity).astype(np.float32),
        edge_multiplicity=multiplicity.astype(np.int32),
    )


def original_graph(structure: Structure, *, neighbours: int = NEIGHBOURS, radius: float = RADIUS) -> CrystalGraph:
    """Build a graph as the published code (txie-93/cgcnn) does, with exactly ``neighbours`` edges to each atom.

    This exists only to reproduce its checkpoints. The neighbours of an atom are cut at the twelfth. Among equally
    distant ones the cut falls by the order of the search, so that predictions depend on the order of the atoms. Missing
    neighbours are atom 0 of the crystal at ``radius`` + 1 Å.

    Raises:
        UserError: Partial occupancy, an element without features, or a cell that is far too full.
    """
    numbers = atomic_numbers(structure)
    check_density(structure)
    n = len(numbers)
    target, source, _, distance = structure.get_neighbor_list(radius, exclude_self=True)
    order = np.lexsort((distance, target))  # stable: ties stay in the order of the search
    target, source, distance = target[order], source[order], distance[order]
    counts = np.bincount(target, minlength=n)  # (N,)
    rank = np.arange(len(target)) - (np.cumsum(counts) - counts)[target]  # (P,) 0 for an atom's nearest
    keep = rank < neighbours
    padded = np.repeat(np.arange(n), np.maximum(neighbours - counts, 0))  # an atom once for each missing neighbour
    return CrystalGraph(
        numbers=numbers,
        multiplicity=np.ones(n, dtype=np.int32),
        source=np.concatenate([source[keep], np.zeros_like(padded)]).astype(np.int32),
        target=np.concatenate([target[keep], padded]).astype(np.int32),
        distance=np.concatenate([distance[keep], np.full(len(padded), radius + PADDING)]).astype(np.float32),
        edge_multiplicity=np.ones(n * neighbours, dtype=np.int32),
    )
