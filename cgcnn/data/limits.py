"""Limits: files are decompressed in bounded memory, and crystals that cannot exist or would fill it are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure


_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"BZh": ".bz2"}  # first bytes of compressed files
CRYSTAL = 64 * 2**20
"""Largest number of characters of a crystal: a CIF, a POSCAR, or a line of JSON Lines."""
WHOLE = 4 * 2**30
"""Largest number of bytes of a JSON file, which is read as a whole."""
RATIO = 200  # crystal data compress 5 to 50 times
PIECE = 2**24
"""Number of bytes read at once."""
_FREE = 64 * 2**20  # bytes to which any file may decompress


class _Guarded(io.RawIOBase):
    """A decompressed stream that fails once it is larger than a file of its size can honestly hold."""

    def __init__(self, path: Path, *, by_content: bool) -> None:
        super().__init__()
        self.path, self.done = path, 0
        self.packed = open_regular(path)
        self.limit = _FREE + RATIO * os.fstat(self.packed.fileno()).st_size
        begins = self.packed.peek(6) if by_content else b""
        found = next((end for magic, end in _MAGIC.items() if begins.startswith(magic)), "")
        unpack = _OPEN.get(found if by_content else path.suffix.lower())
        self.inner = cast("Any", self.packed) if unpack is None else unpack(self.packed, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast("int", self.inner.readinto1(buffer))  # the data before an error
        self.done += count
        if self.done > self.limit:
            raise UserError(f"{self.path}: decompresses to more than {RATIO} times its size; no data of crystals do")
        return count

    def close(self) -> None:
        self.inner.close()
        self.packed.close()
        super().close()


def uncompressed_name(path: Path) -> str:
    """Return the file's name without ``.gz``, ``.xz`` or ``.bz2``."""
    name = path.name
    for suffix in _OPEN:
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def decompressed(path: Path, *, by_content: bool = False) -> io.BufferedReader:
    """Open a file to read its decompressed bytes; its suffix or its first bytes tell the compression."""
    return io.BufferedReader(_Guarded(path, by_content=by_content), 2**17)


def opened(path: Path, errors: str, encoding: str = "utf-8") -> io.TextIOWrapper:
    """Open a file to read its decompressed text with line ends as they are; `errors` handles invalid bytes."""
    return io.TextIOWrapper(decompressed(path), encoding=encoding, errors=errors, newline="")


def lines_of(stream: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Yield the lines of a text, with their ends.

    Raises:
        UserError: A line is longer than any crystal.
    """
    while line := stream.readline(CRYSTAL + 1):
        if len(line) > CRYSTAL:
            raise UserError(f"{path}: a line of more than {CRYSTAL >> 20} million characters; expected crystals")
        yield line


def read_text(path: Path) -> str:
    """Read the text of one crystal; invalid bytes, as in authors' names of old encodings, are replaced.

    Raises:
        UserError: It is longer than any crystal.
    """
    with opened(path, errors="replace") as stream:
        text = stream.read(CRYSTAL + 1)
    if len(text) > CRYSTAL:
        raise UserError(f"{path}: more than {CRYSTAL >> 20} million characters; expected one crystal")
    return text


def read_bytes(path: Path) -> bytes:
    """Read all decompressed bytes of a file.

    Raises:
        UserError: There are too many to read as a whole.
    """
    with decompressed(path) as stream:
        parts, size = list[bytes](), 0
        while part := stream.read(PIECE):  # reading all at once would reserve the limit as memory
            parts.append(part)
            size += len(part)
            if size > WHOLE:
                raise UserError(f"{path}: more than {WHOLE >> 30} GiB; give JSON Lines, which are read line by line")
    return b"".join(parts)


ATOMS = 10_000
"""Largest number of atoms in a cell."""
SHORTEST, LONGEST = 0.3, 2_000.0  # Å, of lattice vectors
FARTHEST = 1_000.0  # cells; an atom farther outside its cell has lost its digits
CLOSEST = 0.9
"""Å; no two atoms of a crystal are nearer; in N2 they are 1.10 apart."""
CLOSEST_TO_H = 0.5
"""Å; X-rays may place hydrogen as near as this."""
IMAGES = 4_000_000
"""Largest number of periodic images of atoms in a search for neighbours."""
PAIRS = 20_000_000
"""Largest number of neighbours of all atoms, 50 bytes each; 10,000 atoms of diamond have a fifth of it."""
_ANGLE = 0.01  # degrees; angles must be this far from the limit beyond which no cell has them


def check_count(atoms: int) -> None:
    """Refuse a cell with too many atoms.

    Raises:
        ValueError: There are more than `ATOMS`.
    """
    if atoms > ATOMS:
        raise ValueError(f"{atoms:,} atoms in a cell; at most {ATOMS:,} are read")


def check_cell(cell: Sequence[float]) -> None:
    """Refuse an impossible cell: three lengths in Å, then three angles in degrees.

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
    """Refuse impossible lattice vectors (3, 3) in Å.

    Raises:
        ValueError: One is not finite or out of bounds, or they lie in one plane.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(lengths).all() and ((lengths >= SHORTEST) & (lengths <= LONGEST)).all()):
        raise ValueError(f"the cell has the lengths {_listed(lengths)} Å: {SHORTEST:g} to {LONGEST:g} are possible")
    if not abs(np.linalg.det(vectors)) > 1e-6 * np.prod(lengths):
        raise ValueError("the lattice vectors lie in one plane")


def check_positions(frac: NDArray[np.float64]) -> None:
    """Refuse fractional coordinates (n, 3) that are not finite or too far outside the cell.

    Raises:
        ValueError: An atom has such coordinates.
    """
    wrong = np.flatnonzero(~(np.abs(frac) <= FARTHEST).all(axis=1))  # also catches NaN
    if len(wrong):
        raise ValueError(f"atom {wrong[0] + 1} is at {_listed(frac[wrong[0]])} in fractions of the cell")


def check_apart(crystal: Structure, names: Sequence[str] | None = None) -> None:
    """Refuse atoms nearer to each other than any bond; sites of partial occupancy may be alternatives.

    Args:
        crystal: Crystal with all of its atoms.
        names: Names of the atoms in messages; by default such as "atom 3 (O)".

    Raises:
        ValueError: Two atoms are too near, or an atom and its own image.
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

    Two atoms are at least as far apart as their distance along the height over any face of the cell.

    Raises:
        ValueError: The cell is too flat.
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
    nearest = np.min(whole, axis=0)  # (N, N); such a flat cell holds few atoms
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
