"""Batches of prototype candidates, made without building one graph at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.graphs.batch import GraphBatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.graphs.prototype import Prototype

    Template = tuple[CrystalGraph, NDArray[np.int64]]


def fill(prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.floating], neighbours: int) -> GraphBatch:
    """See `Prototype.batch`."""
    parts = [_fill(template[0], species, a, rows) for template, rows in _groups(prototype, species, neighbours)]
    return join(parts, len(species))


def nodes_of_sites(prototype: Prototype, species: NDArray[np.uint8], neighbours: int) -> NDArray[np.int64]:
    """(n, n_sites) the node, in the batch that `fill` makes of the same rows, that stands for each site."""
    nodes = np.empty(species.shape, dtype=np.int64)
    start = 0
    for (template, classes), rows in _groups(prototype, species, neighbours):
        size = len(template.numbers)
        nodes[rows] = start + np.arange(len(rows))[:, None] * size + classes
        start += len(rows) * size
    return nodes


def _groups(
    prototype: Prototype, species: NDArray[np.uint8], neighbours: int
) -> Iterator[tuple[Template, NDArray[np.int64]]]:
    """Templates, each with the rows that it serves."""
    kinds, kind = np.unique(_patterns(species, prototype.role_index), axis=0, return_inverse=True)
    for i, pattern in enumerate(kinds.tolist()):
        yield _template(prototype, tuple(pattern), neighbours), np.flatnonzero(kind == i)


def _patterns(species: NDArray[np.uint8], roles: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, n_sites): for each site the first site of the same role with the same element."""
    same = (species[:, :, None] == species[:, None, :]) & (roles[:, None] == roles[None, :])  # (n, s, s)
    first: NDArray[np.int64] = same.argmax(axis=2)
    return first


@lru_cache(maxsize=64)
def _template(prototype: Prototype, pattern: tuple[int, ...], neighbours: int) -> Template:
    """Quotient for a = 1 and the node of each site; ``numbers`` hold the site that names the element."""
    full = prototype.graph(np.array(pattern, dtype=np.uint8), neighbours=neighbours)
    first = np.searchsorted(prototype.atoms, np.arange(len(prototype.sites)))  # (n_sites,) an atom of each
    return full.quotient(), full.classes()[first]


def _fill(
    template: CrystalGraph, species: NDArray[np.uint8], a: NDArray[np.floating], rows: NDArray[np.int64]
) -> GraphBatch:
    """The template with the elements and lattice constants of some rows; ``graph`` holds the row number."""
    n, nodes, edges = len(rows), len(template.numbers), len(template.source)
    shift = np.repeat(np.arange(n) * nodes, edges)  # (n * edges,)
    distance = np.asarray(a, dtype=np.float32)[rows, None] * template.distance  # (n, edges)
    return GraphBatch(
        numbers=torch.from_numpy(species[rows][:, template.numbers].astype(np.int64).ravel()),
        multiplicity=torch.from_numpy(np.tile(template.multiplicity.astype(np.float32), n)),
        source=torch.from_numpy(np.tile(template.source.astype(np.int64), n) + shift),
        target=torch.from_numpy(np.tile(template.target.astype(np.int64), n) + shift),
        distance=torch.from_numpy(distance.ravel()),
        edge_multiplicity=torch.from_numpy(np.tile(template.edge_multiplicity.astype(np.float32), n)),
        graph=torch.from_numpy(np.repeat(rows, nodes)),
        n_graphs=n,
    )


def join(parts: list[GraphBatch], n_graphs: int) -> GraphBatch:
    """One batch of parts whose ``graph`` already counts over the whole."""
    sizes = [len(part.numbers) for part in parts]
    offsets = np.cumsum([0, *sizes])[: len(parts)]
    empty = torch.empty(0)
    return GraphBatch(
        numbers=torch.cat([part.numbers for part in parts]) if parts else empty.long(),
        multiplicity=torch.cat([part.multiplicity for part in parts]) if parts else empty,
        source=torch.cat([p.source + int(o) for p, o in zip(parts, offsets, strict=True)]) if parts else empty.long(),
        target=torch.cat([p.target + int(o) for p, o in zip(parts, offsets, strict=True)]) if parts else empty.long(),
        distance=torch.cat([part.distance for part in parts]) if parts else empty,
        edge_multiplicity=torch.cat([part.edge_multiplicity for part in parts]) if parts else empty,
        graph=torch.cat([part.graph for part in parts]) if parts else empty.long(),
        n_graphs=n_graphs,
    )
