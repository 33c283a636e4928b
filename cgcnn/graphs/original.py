"""Graphs as the published code builds them (txie-93/cgcnn), to reproduce its checkpoints, and only for that.

The neighbours of an atom are cut at the twelfth. Among equally distant ones the cut falls by the order of the search,
so that predictions depend on the order of the atoms. Missing neighbours are atom 0 of the crystal at ``radius`` + 1 Å.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cgcnn.graphs.graph import NEIGHBOURS, RADIUS, CrystalGraph, atomic_numbers, check_density

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

PADDING = 1.0  # Å beyond the radius
EQUAL = 1e-5  # Å; distances this close are one in the quotient, far below what would change a prediction


def original_graph(structure: Structure, *, neighbours: int = NEIGHBOURS, radius: float = RADIUS) -> CrystalGraph:
    """Full graph with exactly ``neighbours`` edges to each atom, cut and padded as the published code does.

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
    padded = np.repeat(np.arange(n), np.maximum(neighbours - counts, 0))  # an atom as often as it lacks neighbours
    return CrystalGraph(
        numbers=numbers,
        multiplicity=np.ones(n, dtype=np.int32),
        source=np.concatenate([source[keep], np.zeros_like(padded)]).astype(np.int32),
        target=np.concatenate([target[keep], padded]).astype(np.int32),
        distance=np.concatenate([distance[keep], np.full(len(padded), radius + PADDING)]).astype(np.float32),
        edge_multiplicity=np.ones(n * neighbours, dtype=np.int32),
    )
