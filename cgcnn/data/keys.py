"""Compositions as integers, to keep and to find those of the training by. Numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def composition_keys(species: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(n,) one integer for each canonical row of species (n, n_sites ≤ 9): seven bits a site.

    Since no site is empty, rows of different numbers of sites have different keys.
    """
    keys = np.zeros(len(species), dtype=np.int64)
    for column in species.T:
        keys = keys << 7 | column
    return keys


def compositions(keys: NDArray[np.int64], n_sites: int) -> NDArray[np.uint8]:
    """The rows (k, n_sites) of those of keys (n,) that are of so many sites; the inverse of `composition_keys`."""
    mine = keys[keys >> 7 * (n_sites - 1) > 0]  # fewer sites leave these bits empty
    mine = mine[mine >> 7 * (n_sites - 1) < 128]
    return (mine[:, None] >> 7 * np.arange(n_sites - 1, -1, -1) & 127).astype(np.uint8)
