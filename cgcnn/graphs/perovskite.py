"""Recognise perovskites: which atoms are on A, B and X, how B is ordered, and how the octahedra are tilted.

A perovskite ABX3 is a primitive cubic net of corner-sharing octahedra, however distorted. Every B has six X, every X
two B, two B share at most one X, and going from B to B along two of the three directions of the net ends at the same B
in either order. The last condition excludes corner-sharing nets with other rings, such as bronzes and pyrochlores. A
sits in the holes: its X are not much nearer than those of B, which excludes face-sharing chains (in BaNiO3, Ba has a
corner-sharing net too), and no X is bonded to A first, which excludes carbonates and borates. Only the crystal decides,
no list of elements. Disordered crystals do not count.

Shapes: N atoms, K of them on B.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

Order = Literal["single", "rock-salt", "layered", "columnar", "other"]
Family = Literal["cubic", "distorted", "tilted"]

SHELLS_APART = 1.02  # the seventh X is farther from B than the sixth by at least this factor
REACH = 0.95  # of a; no bond is longer: in strongly polar perovskites (BiCoO3) the longest B-X is 0.75
LARGER = 1.15  # the mean distance of B from its six X is at most this much larger than that of A; 1.4 in BaNiO3
BONDED = 0.7  # of the mean B-X; if an X is nearer to A, A has anions of its own: 0.69 in GaBO3, 0.72 in CaSeO3
TILTED = 1.5  # degrees; smaller rotations count as zero
STRAIGHT = 178.0  # degrees; the smallest B-X-B angle of a cubic perovskite
SAME_LENGTH = 0.01  # relative; within it the edges of the pseudo-cubic cell are equal
SAME_TILT = 1.0  # degrees; within it two rotations have the same letter
_MATCHINGS = np.array(  # (15, 3, 2) the ways to make three pairs of six
    [
        [(0, j), *[rest[:2], rest[2:]]]
        for j in range(1, 6)
        for others in [[k for k in range(1, 6) if k != j]]
        for k in range(1, 4)
        for rest in [(others[0], others[k], *[o for i, o in enumerate(others) if i not in (0, k)])]
    ]
)


@dataclass(frozen=True)
class Perovskite:
    """The kind of perovskite that a crystal is.

    Attributes:
        numbers: (N,) atomic numbers, in the crystal's order. roles: (N,) "A", "B" or "X" for each atom. order: Order of
        the elements on B: ``single`` if there is one. For two elements in equal parts, by how many steps
            of the net change the element: three (``rock-salt``, elpasolite), two (``columnar``) or one (``layered``).
            Anything else is ``other``.
        tilts: Root mean square rotation of the octahedra about each axis of the net, degrees, in Glazer's order.
        glazer: Glazer's symbol (Acta Cryst. 1972, B28, 3384), such as ``a0a0a0`` or ``a+b-b-``. Axes without rotation
            come first, then those with the same sense along the axis (+), then those with alternating sense (-);
            ``*`` stands for other sequences.
        angle: Mean B-X-B angle, degrees.
        a: Edge of a cube with the volume of one formula unit ABX3, Å.
        family: ``tilted``; else ``cubic`` if the pseudo-cubic cell is a cube and no B-X-B is bent; else ``distorted``.
    """

    numbers: tuple[int, ...]
    roles: tuple[str, ...]
    order: Order
    tilts: tuple[float, float, float]
    glazer: str
    angle: float
    a: float
    family: Family

    @property
    def text(self) -> str:
        """Order on B, family and Glazer's symbol, such as ``single tilted a+b-b-``."""
        return f"{self.order} {self.family} {self.glazer}"

    def elements(self, role: str) -> dict[int, int]:
        """Count the atoms of each element on A, B or X: atomic number → count."""
        return dict(sorted(Counter(z for z, of in zip(self.numbers, self.roles, strict=True) if of == role).items()))


@dataclass(frozen=True)
class _Bonds:
    """The six X of each B.

    Attributes:
        b: (K,) atoms on B.
        x: (K, 6) the X of each.
        image: (K, 6, 3) the cell of this X.
        vector: (K, 6, 3) from B to X, Å.
    """

    b: Integers
    x: Integers
    image: Integers
    vector: Floats


@dataclass(frozen=True)
class _Net:
    """The net of octahedra.

    Attributes:
        axes: (3, 3) mean vectors from B to the next B along each direction, right-handed, Å.
        forward: (K, 3) the next B along each direction, as a position among the B.
        cell: (K, 3, 3) the cell of this next B.
        ahead: (K, 3, 3) vector from B to its X along each direction, Å.
        behind: (K, 3, 3) vector to the X opposite.
    """

    axes: Floats
    forward: Integers
    cell: Integers
    ahead: Floats
    behind: Floats


def find_perovskite(structure: Structure) -> Perovskite | None:
    """Describe a crystal as a perovskite; None if it is not one.

    If two assignments of sites pass (as in LiNbO3, where Li has six O too), the more electronegative elements are on X,
    and B is the one with its X nearer.
    """
    if not structure.is_ordered or len(structure) % 5 or not len(structure):
        return None
    numbers = np.array(structure.atomic_numbers)
    if len(set(numbers)) < 3:  # A, B and X
        return None
    a = float((structure.volume * 5 / len(structure)) ** (1 / 3))
    pairs = structure.get_neighbor_list(REACH * a)
    vectors = structure.frac_coords[pairs[1]] + pairs[2] - structure.frac_coords[pairs[0]]
    near = (*pairs, vectors @ structure.lattice.matrix)
    for x in _anions(numbers):
        for bonds in _octahedra(numbers, x, near):
            net = _net(bonds)
            if net is not None:
                return _describe(numbers, x, a, bonds, net)
    return None


def _anions(numbers: Integers) -> Iterator[NDArray[np.bool_]]:
    """Yield the sets of elements (N,) that make up three fifths of the atoms, the most electronegative first."""
    from pymatgen.core.periodic_table import Element

    count = Counter(numbers.tolist())
    sets = [
        chosen
        for size in range(1, len(count) - 1)
        for chosen in combinations(sorted(count), size)
        if 5 * sum(count[z] for z in chosen) == 3 * len(numbers)
    ]

    def attraction(chosen: tuple[int, ...]) -> float:
        values = [Element.from_Z(z).data.get("X") or 0.0 for z in chosen]
        return sum(count[z] * value for z, value in zip(chosen, values, strict=True))

    for chosen in sorted(sets, key=attraction, reverse=True):
        yield np.isin(numbers, chosen)


def _octahedra(numbers: Integers, x: NDArray[np.bool_], near: tuple[NDArray[np.generic], ...]) -> Iterator[_Bonds]:
    """Yield the bonds of each choice of B that has six X and shares corners, the one with short bonds first."""
    centre, point, image, distance, vector = near
    wanted = ~x[centre.astype(int)] & x[point.astype(int)]
    centre, point, image, distance, vector = (values[wanted] for values in (centre, point, image, distance, vector))
    order = np.lexsort((distance, centre))
    centre, point, image, distance, vector = (v[order] for v in (centre, point, image, distance, vector))
    start = np.searchsorted(centre, np.arange(len(numbers)))
    count = np.bincount(centre.astype(int), minlength=len(numbers))
    enough = np.flatnonzero(count >= 6)  # corners of an octahedron
    if len(enough) * 5 < len(numbers):
        return
    six = start[enough, None] + np.arange(6)  # (M, 6)
    seventh = np.where(count[enough] > 6, distance[(start[enough] + 6).clip(max=len(distance) - 1)], np.inf)
    apart = seventh > SHELLS_APART * distance[six[:, 5]]
    near_six, nearest = np.full(len(numbers), np.inf), np.full(len(numbers), np.inf)
    near_six[enough], nearest[count > 0] = distance[six].mean(axis=1), distance[start[count > 0]]
    mean = np.full(len(numbers), np.inf)
    mean[enough[apart]] = near_six[enough[apart]]
    row = np.full(len(numbers), -1)
    row[enough] = np.arange(len(enough))
    for b in _cations(numbers, x, mean):
        on_a = ~x
        on_a[b] = False
        length = mean[b].mean()
        if length > LARGER * near_six[on_a].mean() or nearest[on_a].min() < BONDED * length:
            continue
        at = six[row[b]]  # (K, 6)
        bonds = _Bonds(b, point[at].astype(int), image[at].astype(int), vector[at].astype(float))
        if _shares_corners(bonds, int(x.sum())):
            yield bonds


def _cations(numbers: Integers, x: NDArray[np.bool_], mean: Floats) -> Iterator[Integers]:
    """Yield choices of a fifth of the atoms for B, those with the smallest mean distance from six X first."""
    k = len(numbers) // 5
    others = np.flatnonzero(~x)
    ranked = others[np.argsort(mean[others], kind="stable")]
    count = Counter(numbers[others].tolist())
    sizes = range(1, len(count))
    by_element = [
        np.flatnonzero(np.isin(numbers, chosen) & ~x)
        for chosen in chain.from_iterable(combinations(sorted(count), size) for size in sizes)
        if sum(count[z] for z in chosen) == k
    ]
    choices = sorted([np.sort(ranked[:k]), np.sort(ranked[k:]), *by_element], key=lambda b: float(mean[b].mean()))
    seen: set[tuple[int, ...]] = set()
    for b in choices:
        if np.isfinite(mean[b]).all() and tuple(b) not in seen:
            seen.add(tuple(b))
            yield b


def _shares_corners(bonds: _Bonds, n_x: int) -> bool:
    """Return whether each X has two B, and no two B have more than one X in common."""
    atoms, count = np.unique(bonds.x, return_counts=True)
    if len(atoms) != n_x or (count != 2).any():  # the ends of a bridge
        return False
    first, second, cell = _bridges(bonds)[:3]
    if ((first == second) & (cell == 0).all(axis=1)).any():
        return False
    ends = np.column_stack([first, second, cell])
    both = np.concatenate([ends, np.column_stack([second, first, -cell])])
    return len(np.unique(both, axis=0)) == len(both)


def _bridges(bonds: _Bonds) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """Return for each X its two B, the cell of the second seen from the first, and both bonds, as positions."""
    order = np.argsort(bonds.x.ravel(), kind="stable").reshape(-1, 2)  # (3K, 2) bonds of each X
    one, two = order.T
    image = bonds.image.reshape(-1, 3)
    return one // 6, two // 6, image[one] - image[two], one, two


def _net(bonds: _Bonds) -> _Net | None:
    """Return the net of corner-sharing octahedra if it is primitive cubic, otherwise None."""
    first, second, cell, one, two = _bridges(bonds)
    k = len(bonds.b)
    step = bonds.vector.reshape(-1, 3)[one] - bonds.vector.reshape(-1, 3)[two]  # (3K, 3) from the first B to the second
    steps, ends, cells = np.empty((6 * k, 3)), np.empty(6 * k, dtype=int), np.empty((6 * k, 3), dtype=int)
    steps[one], steps[two] = step, -step
    ends[one], ends[two] = second, first
    cells[one], cells[two] = cell, -cell
    units = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    axes = _opposites(units[:6])
    for _ in range(3):
        along = units @ axes.T  # (6K, 3)
        axis = np.abs(along).argmax(axis=1)
        if len(np.unique(axis)) < 3:  # directions
            return None
        ahead = along[np.arange(6 * k), axis] > 0
        mean = [(steps[axis == i] * np.where(ahead[axis == i], 1, -1)[:, None]).mean(axis=0) for i in range(3)]
        axes = np.array(mean) / np.linalg.norm(mean, axis=1, keepdims=True)
    label = (axis + 3 * ~ahead).reshape(k, 6)
    if (np.sort(label, axis=1) != np.arange(6)).any():
        return None
    slot = np.argsort(label, axis=1) + 6 * np.arange(k)[:, None]  # (K, 6) the bonds ahead, then those behind
    forward, offset = ends[slot[:, :3]], cells[slot[:, :3]]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        over, under = forward[forward[:, i], j], forward[forward[:, j], i]
        there, back = offset[:, i] + offset[forward[:, i], j], offset[:, j] + offset[forward[:, j], i]
        if (over != under).any() or (there != back).any():
            return None
    vectors = bonds.vector.reshape(-1, 3)
    return _Net(np.array(mean), forward, offset, vectors[slot[:, :3]], vectors[slot[:, 3:]])


def _opposites(units: Floats) -> Floats:
    """Pair six unit vectors (6, 3) as opposites and return the directions of the pairs (3, 3), right-handed."""
    cosine = units @ units.T
    best = _MATCHINGS[cosine[_MATCHINGS[..., 0], _MATCHINGS[..., 1]].sum(axis=1).argmin()]  # (3, 2)
    axes = units[best[:, 0]] - units[best[:, 1]]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    if np.linalg.det(axes) < 0:
        axes[2] *= -1
    return np.asarray(axes)


def _describe(numbers: Integers, x: NDArray[np.bool_], a: float, bonds: _Bonds, net: _Net) -> Perovskite:
    roles = np.where(x, "X", "A")
    roles[bonds.b] = "B"
    tilts, senses = _tilts(net)
    order = _glazer_order(tilts, senses)
    _, _, _, one, two = _bridges(bonds)
    arms = bonds.vector.reshape(-1, 3)
    unit = arms / np.linalg.norm(arms, axis=1, keepdims=True)
    angles = np.degrees(np.arccos((unit[one] * unit[two]).sum(axis=1).clip(-1, 1)))
    is_cubic = bool(angles.min() >= STRAIGHT) and _is_cube(net.axes)
    return Perovskite(
        numbers=tuple(numbers.tolist()),
        roles=tuple(roles.tolist()),
        order=_order(numbers[bonds.b], net.forward),
        tilts=(float(tilts[order[0]]), float(tilts[order[1]]), float(tilts[order[2]])),
        glazer=_symbol(tilts[order], [senses[i] for i in order]),
        angle=float(angles.mean()),
        a=a,
        family="tilted" if any(sense != "0" for sense in senses) else "cubic" if is_cubic else "distorted",
    )


def _is_cube(axes: Floats) -> bool:
    length = np.linalg.norm(axes, axis=1)
    cosines = (axes / length[:, None]) @ (axes / length[:, None]).T - np.eye(3)
    return bool(np.ptp(length) <= SAME_LENGTH * length.mean() and np.abs(cosines).max() <= SAME_LENGTH)


def _tilts(net: _Net) -> tuple[Floats, list[str]]:
    """Return the root mean square rotations (3,) about the net's directions, degrees, and their senses 0, +, - or *."""
    arms = net.ahead - net.behind  # (K, 3, 3), the diagonals of each octahedron as rows
    arms = arms / np.linalg.norm(arms, axis=2, keepdims=True)
    frame = _nearest_rotation(net.axes / np.linalg.norm(net.axes, axis=1, keepdims=True))
    turned = _nearest_rotation(arms) @ frame.T  # (K, 3, 3); row i: diagonal i in the frame
    odd = (turned - turned.transpose(0, 2, 1)) / 2
    sine = np.stack([odd[:, 1, 2], odd[:, 2, 0], odd[:, 0, 1]], axis=1)  # (K, 3), length: sine of the angle
    length = np.linalg.norm(sine, axis=1, keepdims=True)
    rotation = np.degrees(sine * np.where(length > 1e-9, np.arcsin(length.clip(max=1)) / length.clip(min=1e-9), 1.0))
    rotation -= rotation.mean(axis=0)  # of the frame, which is only nearly known
    tilts = np.sqrt((rotation**2).mean(axis=0))
    senses = []
    for i, tilt in enumerate(tilts):
        if tilt < TILTED:
            senses.append("0")
            continue
        alike = (rotation[:, i] * rotation[net.forward[:, i], i]).mean() / tilt**2
        senses.append("+" if alike > 0.5 else "-" if alike < -0.5 else "*")  # +1 and -1 if regular
    return tilts, senses


def _nearest_rotation(rows: Floats) -> Floats:
    """Return the nearest orthogonal matrices (…, 3, 3)."""
    left, _, right = np.linalg.svd(rows)
    return np.asarray(left @ right)


def _glazer_order(tilts: Floats, senses: list[str]) -> list[int]:
    """Order the axes by sense, with equal rotations side by side."""
    order = sorted(range(3), key=lambda i: ("0+-*".index(senses[i]), tilts[i]))
    same = [senses[i] == senses[j] and abs(tilts[i] - tilts[j]) < SAME_TILT for i, j in pairwise(order)]
    if senses[order[0]] == senses[order[2]] != "0" and same == [False, True]:  # a-b-b- rather: a-a-c-
        order = [order[1], order[2], order[0]]
    return order


def _symbol(tilts: Floats, senses: list[str]) -> str:
    letters = ["a", "b", "c"]
    for i in (1, 2):
        is_zero = senses[i] == "0"
        if senses[i] == senses[i - 1] and (is_zero or abs(tilts[i] - tilts[i - 1]) < SAME_TILT):
            letters[i] = letters[i - 1]
    return "".join(letter + sense for letter, sense in zip(letters, senses, strict=True))


def _order(on_b: Integers, forward: Integers) -> Order:
    kinds, count = np.unique(on_b, return_counts=True)
    if len(kinds) == 1:
        return "single"
    changes = on_b[:, None] != on_b[forward]  # (K, 3) whether a step leads to the other element
    always, never = changes.all(axis=0), ~changes.any(axis=0)
    if len(kinds) != 2 or count[0] != count[1] or not (always | never).all():  # B and B'
        return "other"
    names: dict[int, Order] = {3: "rock-salt", 2: "columnar", 1: "layered"}
    return names.get(int(always.sum()), "other")
