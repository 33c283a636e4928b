"""How large a crystal may be. What is beyond is no crystal, or would fill the memory or take hours; it is refused."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

ATOMS = 10_000
"""Atoms of a cell."""
SHORTEST, LONGEST = 0.3, 2_000.0  # Å, of lattice vectors
FARTHEST = 1_000.0  # cells that an atom may lie outside its own; farther, its digits are lost
CLOSEST = 0.9
"""Å; no two atoms of a crystal are nearer; N2 has 1.10."""
CLOSEST_TO_H = 0.5
"""Å; hydrogen seen by X-rays may seem as near as that."""
IMAGES = 4_000_000
"""Periodic images of atoms that a search for neighbours may look at."""
PAIRS = 20_000_000
"""Neighbours of all atoms that a search may find, 50 bytes each; 10,000 atoms of diamond have a fifth of it."""
_ANGLE = 0.01  # degrees; angles that make no cell differ from those of the nearest one that they make


def check_count(atoms: int) -> None:
    """Refuse a cell with too many atoms.

    Raises:
        ValueError: There are more than `ATOMS`.
    """
    if atoms > ATOMS:
        raise ValueError(f"{atoms:,} atoms in a cell; at most {ATOMS:,} are read")


def check_cell(cell: Sequence[float]) -> None:
    """Refuse a cell that there cannot be: three lengths in Å, then three angles in degrees.

    Raises:
        ValueError: A number is missing, not finite or out of bounds, or no cell has these angles.
    """
    values = np.asarray(cell, dtype=np.float64)
    if values.shape != (6,) or not np.isfinite(values).all():
        raise ValueError(f"the cell is {_listed(values)}: give three lengths and three angles")
    lengths, angles = values[:3], values[3:]
    if not ((lengths >= SHORTEST) & (lengths <= LONGEST)).all():
        raise ValueError(f"the cell has the lengths {_listed(lengths)} Å: {SHORTEST:g} to {LONGEST:g} are possible")
    largest = angles.max()
    if angles.min() <= 0 or largest >= 180 or angles.sum() >= 360 or 2 * largest - angles.sum() > -_ANGLE:
        raise ValueError(f"the cell has the angles {_listed(angles)}°, which no cell has")


def check_vectors(vectors: NDArray[np.float64]) -> None:
    """Refuse lattice vectors (3, 3), Å, that there cannot be.

    Raises:
        ValueError: One is not finite or out of bounds, or they lie in one plane.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(lengths).all() and ((lengths >= SHORTEST) & (lengths <= LONGEST)).all()):
        raise ValueError(f"the cell has the lengths {_listed(lengths)} Å: {SHORTEST:g} to {LONGEST:g} are possible")
    if not abs(np.linalg.det(vectors)) > 1e-6 * np.prod(lengths):
        raise ValueError("the lattice vectors lie in one plane")


def check_positions(frac: NDArray[np.float64]) -> None:
    """Refuse fractional coordinates (n, 3) that name no place.

    Raises:
        ValueError: One is not finite, or too far away.
    """
    wrong = np.flatnonzero(~(np.abs(frac) <= FARTHEST).all(axis=1))  # NaN is no number at all
    if len(wrong):
        raise ValueError(f"atom {wrong[0] + 1} is at {_listed(frac[wrong[0]])} in fractions of the cell")


def check_apart(crystal: Structure, names: Sequence[str] | None = None) -> None:
    """Refuse atoms nearer to each other than any bond; sites of partial occupancy may be alternatives.

    Args:
        crystal: With all of its atoms.
        names: What to call them; "atom 3 (O)" if None.

    Raises:
        ValueError: There are two, or one is that near to its own image.
    """
    if not crystal.is_ordered:
        return
    light = np.array([site.specie.Z == 1 for site in crystal])
    first, second, distance = _close_pairs(np.asarray(crystal.lattice.matrix), np.asarray(crystal.frac_coords))
    near = np.flatnonzero(distance < np.where(light[first] | light[second], CLOSEST_TO_H, CLOSEST))
    if len(near):
        worst = near[distance[near].argmin()]
        i, j = int(first[worst]), int(second[worst])
        called = names or [f"atom {at + 1} ({site.specie.symbol})" for at, site in enumerate(crystal)]
        other = called[j] if called[i] != called[j] else "its image"
        raise ValueError(f"{called[i]} and {other} are {distance[worst]:.2f} Å apart, nearer than any bond")


def _close_pairs(
    vectors: NDArray[np.float64], frac: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Find the pairs (p,) of atoms nearer than `CLOSEST`, and their distances in Å.

    Two atoms are at least as far apart as they are along the height of the cell over each of its faces.

    Raises:
        ValueError: The cell is too flat for that.
    """
    from scipy.spatial import cKDTree  # heavy

    heights = 1 / np.linalg.norm(np.linalg.inv(vectors), axis=0)  # (3,) Å
    inside = frac - np.floor(frac)
    inside = np.where(inside < 1, inside, 0.0)
    if heights.min() > 2 * CLOSEST:
        pairs = cKDTree(inside * heights, boxsize=heights).query_pairs(CLOSEST, p=np.inf, output_type="ndarray")
        first, second = pairs.T
        apart = inside[second] - inside[first]
        return first, second, np.linalg.norm((apart - np.round(apart)) @ vectors, axis=1)
    if len(frac) ** 2 * np.prod(2 * np.ceil(CLOSEST / heights) + 1) > IMAGES:
        raise ValueError(f"its cell is {_listed(heights)} Å high: too flat for a search for neighbours")
    images = np.array(list(product(*(range(-n, n + 1) for n in np.ceil(CLOSEST / heights).astype(int).tolist()))))
    whole = [np.linalg.norm((inside + image - inside[:, None]) @ vectors, axis=-1) for image in images]
    for distance, image in zip(whole, images, strict=True):
        if not image.any():
            np.fill_diagonal(distance, np.inf)
    nearest = np.min(whole, axis=0)  # (N, N); such a cell is flat and holds few atoms
    first, second = np.nonzero(np.triu(nearest < CLOSEST))
    return first, second, nearest[first, second]


def check_reach(vectors: NDArray[np.float64], atoms: int, radius: float) -> None:
    """Refuse a search for neighbours within ``radius`` Å that would fill the memory.

    Raises:
        ValueError: The cell is so flat or so full that there are more than `IMAGES` or `PAIRS`.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(vectors), axis=0)  # (3,) Å
    images = atoms * np.prod(2 * np.ceil(radius / heights) + 1)
    if images > IMAGES:
        raise ValueError(f"its cell is {_listed(heights)} Å high: too flat for a search for neighbours")
    volume = abs(np.linalg.det(vectors))
    if atoms**2 * 4 / 3 * np.pi * radius**3 > PAIRS * volume:
        raise ValueError(f"{atoms:,} atoms in {volume:.3g} Å³: too many for a search for neighbours")


def _listed(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:g}" for value in values.ravel()[:6])
