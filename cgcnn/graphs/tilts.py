"""Perovskites with rotated octahedra, built from the ideal ones: the start of a relaxation that can find tilts.

A symmetric start never tilts, because symmetry makes the forces zero that would tilt it. Here each octahedron of the
cubic net turns as a rigid body about the axes of the net, with the senses of one of Glazer's tilt systems (Acta Cryst.
1972, B28, 3384), and the net shrinks so that octahedra still share corners. In systems with tilts of both senses rigid
octahedra do not quite fit; each X then sits midway between the corners of its two octahedra.

Shapes: N atoms, K octahedra in the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.prototype import Prototype

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

ANGLE = 8.0
"""Degrees that octahedra turn about each axis that a system tilts, near those of many oxides (CaTiO3: 9)."""

MOST_ANGLE = 20.0
"""Degrees; beyond, the X of neighbouring octahedra come too close."""

Cell = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True)
class TiltSystem:
    """How the octahedra of a net turn.

    Attributes:
        glazer: Glazer's symbol.
        senses: About each axis of the net: "0" not at all, "+" alike along the axis, "-" alternating along it. In the
            other two directions the sense always alternates, because octahedra share corners.
        primitive: The smallest cell, rows in units of the steps of the net.
        conventional: The usual cell of the space group, in the same units.
    """

    glazer: str
    senses: str
    primitive: Cell
    conventional: Cell

    def cell(self, prototype: Prototype, *, conventional: bool) -> Cell:
        """Return the cell of a prototype's crystals; alternating B and B' enlarge the cell of an untilted ABX3."""
        if self.senses == "000" and "B'" in prototype.sites:
            return _DOUBLED if conventional else _FACE_CENTRED
        return self.conventional if conventional else self.primitive

    def rotations(self, at: Integers, angle: float) -> Floats:
        """Return the rotations (K, 3, 3) of octahedra at places (K, 3) of the net; the angle is in degrees per axis."""
        from scipy.spatial.transform import Rotation

        total = at.sum(axis=1, keepdims=True)
        signs = {"0": 0.0 * at, "-": (-1.0) ** (total + 0 * at), "+": (-1.0) ** (total - at)}
        turns = np.stack([signs[sense][:, axis] for axis, sense in enumerate(self.senses)], axis=1)
        return np.asarray(Rotation.from_rotvec(np.radians(angle) * turns).as_matrix())


_UNIT: Cell = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_DOUBLED: Cell = ((2, 0, 0), (0, 2, 0), (0, 0, 2))
_FACE_CENTRED: Cell = ((0, 1, 1), (1, 0, 1), (1, 1, 0))
_PNMA: Cell = ((1, 0, 1), (0, 2, 0), (-1, 0, 1))

SYSTEMS = {
    system.glazer: system
    for system in (
        TiltSystem("a0a0a0", "000", _UNIT, _UNIT),
        TiltSystem("a-b+a-", "-+-", _PNMA, _PNMA),
        TiltSystem("a-a-a-", "---", _FACE_CENTRED, ((1, -1, 0), (0, 1, -1), (2, 2, 2))),
        TiltSystem("a0a0c-", "00-", _FACE_CENTRED, ((1, -1, 0), (1, 1, 0), (0, 0, 2))),
    )
}
"""Tilt systems by Glazer's symbol: none, and those of most perovskites. ABX3 with one X becomes Pm-3m, Pnma (20 atoms),
R-3c (10) and I4/mcm (10); A2BB'X6 in rock-salt order becomes Fm-3m, P2_1/c, R-3 and I4/m."""


def build(  # noqa: PLR0913  # the last three have defaults
    prototype: Prototype,
    species: NDArray[np.uint8],
    a: float,
    tilts: str = "a0a0a0",
    *,
    conventional: bool = False,
    angle: float = ANGLE,
) -> Structure:
    """Build a candidate as a crystal with tilted octahedra.

    Args:
        prototype: The prototype of the candidate.
        species: (n_sites,) atomic numbers.
        a: Distance of neighbouring B without tilts, Å: twice the B-X distance, which tilts keep.
        tilts: One of `SYSTEMS`.
        conventional: Use the usual cell of the space group rather than the smallest.
        angle: Degrees about each tilted axis.

    Returns:
        A pymatgen structure with atoms in the order of the sites; the site property `site` and labels such as ``Ti1_B``
        say which site an atom is on.

    Raises:
        UserError: The tilt system is unknown, or the angle is out of range.
    """
    from pymatgen.core.structure import Structure

    system = find_system(tilts)
    if not 0 < angle < MOST_ANGLE:
        raise UserError(f"angle {angle}: octahedra are turned by more than 0 and less than {MOST_ANGLE:g} degrees")
    cell = np.array(system.cell(prototype, conventional=conventional))
    steps = _steps(system, angle) * a / 2
    names, positions = zip(*_atoms(prototype, cell, system, angle, steps, a / 2), strict=True)
    order = sorted(range(len(names)), key=lambda i: prototype.sites.index(names[i]))
    sites = [names[i] for i in order]
    symbols = [SYMBOLS[species[prototype.sites.index(site)]] for site in sites]
    labels = [
        f"{symbol}{sites[: i + 1].count(site)}_{site}"
        for i, (symbol, site) in enumerate(zip(symbols, sites, strict=True))
    ]
    coordinates = np.round(np.array(positions)[order] @ np.linalg.inv(cell @ steps), 12) % 1.0
    return Structure(
        cell @ steps,
        symbols,
        coordinates,
        labels=labels,
        site_properties={"site": sites},
    )


def find_system(tilts: str) -> TiltSystem:
    """Return the tilt system of a symbol.

    Raises:
        UserError: The symbol is unknown; the message lists the known ones.
    """
    if tilts not in SYSTEMS:
        raise UserError(f"`tilts` {tilts}: no such tilt system. Choose of {', '.join(SYSTEMS)}.")
    return SYSTEMS[tilts]


def _steps(system: TiltSystem, angle: float) -> Floats:
    """Return the mean steps of the net (3, 3) as rows, from B to the next B, in units of the B-X distance."""
    at = np.array(list(product((0, 1), repeat=3)))
    here = system.rotations(at, angle)
    return np.array([(here + system.rotations(at + axis, angle)).mean(axis=0) @ axis for axis in np.eye(3, dtype=int)])


def _atoms(  # noqa: PLR0913, PLR0917  # all that decides where atoms are
    prototype: Prototype, cell: Integers, system: TiltSystem, angle: float, steps: Floats, bond: float
) -> Iterator[tuple[str, Floats]]:
    """Yield site and position, Å, of each atom of a cell: the B of each octahedron, the A beyond it, the X ahead."""
    at = _places(cell)
    here = system.rotations(at, angle)
    for place in at:
        yield "B'" if "B'" in prototype.sites and place.sum() % 2 else "B", place @ steps
        yield "A", (place + 0.5) @ steps
    for axis, unit in enumerate(np.eye(3, dtype=int)):
        there = system.rotations(at + unit, angle)
        middle = (at + unit / 2) @ steps + (here - there) @ unit * bond / 2
        site = "X" if "X" in prototype.sites else f"X{3 - axis}"  # as the ideal positions have them
        yield from ((site, position) for position in middle)


def _places(cell: Integers) -> Integers:
    """Return the places (K, 3) of the net within a cell."""
    reach = range(-int(np.abs(cell).sum()), int(np.abs(cell).sum()) + 1)
    places = np.array(list(product(reach, repeat=3)))
    inside = places @ np.linalg.inv(cell) + 1e-9
    return places[((inside >= 0) & (inside < 1)).all(axis=1)]
