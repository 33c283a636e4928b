"""Labels of records, also derived from other labels or a relaxed crystal. They are only targets, never input.

Shapes: n records, T targets.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.composition import cell_vectors, site_numbers
from cgcnn.data.samples import record_id
from cgcnn.elements import atomic_number
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cgcnn.data.samples import Record
    from cgcnn.graphs.prototype import Prototype


LARGEST = 1e15
"""Largest size of a label. Training sums squares of labels in single precision, which ends at 3e38."""


def targets(
    records: Sequence[Record],
    names: Sequence[str],
    prototypes: Sequence[Prototype | None] = (),
    binary: Sequence[str] = (),
) -> NDArray[np.float32]:
    """Return labels (n, T) float32; NaN where missing.

    If records lack them, the labels in `FROM_LABELS` are derived from other labels. With prototypes, ``a``,
    ``displacement``, ``p_leaves``, ``e_if_stays`` and ``e_if_leaves`` are derived from the relaxed crystal: see
    `lattice_constant`, `displacement` and `leaves`.

    Args:
        records: n records.
        names: T labels.
        prototypes: Prototype of each record, or None; may be omitted.
        binary: Names of binary targets.

    Raises:
        UserError: No record has the label, one is not a number, is infinite or beyond `LARGEST`, or one of a ``binary``
            target is not 0 or 1.
    """
    shapes = prototypes or [None] * len(records)
    rows = list(zip(range(len(records)), records, shapes, strict=True))
    columns = [[_label(record, name, shape, i) for i, record, shape in rows] for name in names]
    table = np.array(columns).astype(np.float32).T  # (n, T)
    for name, column in zip(names, table.T, strict=True):
        if np.isnan(column).all():
            raise UserError(f"no record has the label {name!r}; the first has: {', '.join(records[0])}")
        wrong = np.flatnonzero((column != 0) & (column != 1) & ~np.isnan(column))
        if name in binary and len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"record {record_id(records[first], first)}: {name} is {column[first]:g}; a binary target is 0 or 1"
            )
    return np.ascontiguousarray(table)


def bounds(records: Sequence[Record], names: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return (n, T) bool, True where a label is an upper bound by its label ``NAME_is_bound``; None if none is."""
    found = np.array([[bool(record.get(f"{name}_is_bound")) for name in names] for record in records])
    return found if found.any() else None


def computed(records: Sequence[Record], name: str) -> NDArray[np.float32] | None:
    """Return (n,) the computed upper bounds ``NAME_computed`` of labels estimated from them; None if all are NaN."""
    found = np.array([record.get(f"{name}_computed") for record in records], dtype=np.float32)
    return None if np.isnan(found).all() else found


def _label(record: Record, name: str, prototype: Prototype | None, position: int) -> float:
    value = record.get(name)
    try:
        if name not in record and name in FROM_LABELS:
            value = FROM_LABELS[name](record)
        elif name not in record and prototype is not None and name in _FROM_CRYSTAL:
            value = _FROM_CRYSTAL[name](record, prototype)
        number = math.nan if value is None or value == "" else float(value)
    except (TypeError, ValueError, OverflowError):
        wrong = f"is {value!r}" if name in record else "is derived from labels of which one is"
        raise UserError(f"record {record_id(record, position)}: {name} {wrong}, not a number") from None
    if abs(number) > LARGEST:
        raise UserError(
            f"record {record_id(record, position)}: {name} is {number:g}; labels are finite and at most {LARGEST:g} in "
            "size. Leave it empty, choose another unit, or learn its logarithm"
        )
    return number


def lattice_constant(record: Record, prototype: Prototype) -> float | None:
    """Return the lattice constant in Å at which the prototype has the record's volume per atom; None without a cell."""
    if "cell" not in record:
        return None
    per_atom = abs(np.linalg.det(cell_vectors(record["cell"]))) / len(record["species"])
    return float((per_atom * len(prototype.atoms) / abs(np.linalg.det(prototype.lattice))) ** (1 / 3))


def displacement(record: Record, prototype: Prototype) -> float | None:
    """Return the root mean square distance of the atoms from the prototype's sites in Å, at the best rigid shift.

    None unless the record lists the atoms of one primitive cell of the prototype in the order of its sites.
    """
    a = lattice_constant(record, prototype)
    if a is None or "frac" not in record or not _in_order(record, prototype):
        return None
    offset = np.array(record["frac"]) - np.array(prototype.frac)[_orders(prototype)]  # (P, n_sites, 3)
    # Coordinates are periodic, so take the mean of angles.
    shift = np.angle(np.exp(2j * np.pi * offset).mean(axis=1, keepdims=True)) / (2 * np.pi)  # (P, 1, 3)
    rest = offset - shift
    rest -= np.round(rest)
    square = ((rest @ np.array(prototype.lattice)) ** 2).sum(axis=2).mean(axis=1)  # (P,)
    return float(a * np.sqrt(square.min()))


def _in_order(record: Record, prototype: Prototype) -> bool:
    """Return whether the symbols are those of the site columns, role by role."""
    try:
        named = np.array(site_numbers(record, prototype))[list(prototype.atoms)]
        symbols = np.array([atomic_number(symbol) for symbol in record.get("species", ())])
    except UserError:
        return False
    roles = prototype.role_index[list(prototype.atoms)]
    return len(named) == len(symbols) and all(
        sorted(named[roles == role]) == sorted(symbols[roles == role]) for role in np.unique(roles)
    )


@lru_cache(maxsize=8)
def _orders(prototype: Prototype) -> NDArray[np.int64]:
    """Return (P, n_atoms) every order of the atoms that keeps their roles."""
    roles = prototype.role_index[list(prototype.atoms)]
    groups = [np.flatnonzero(roles == role).tolist() for role in range(len(prototype.role_names))]
    orders = np.empty((0, len(roles)), dtype=np.int64)
    for choice in product(*(permutations(group) for group in groups)):
        order = np.empty(len(roles), dtype=np.int64)
        for group, chosen in zip(groups, choice, strict=True):
            order[group] = chosen
        orders = np.vstack([orders, order])
    return orders


def leaves(record: Record, prototype: Prototype) -> float | None:
    """Return 1 if relaxation moved the atoms more than `LEFT` from the prototype's sites, else 0; None if unknown."""
    distance = displacement(record, prototype)
    return None if distance is None else float(distance > LEFT)


def _energy_if(left: float) -> Callable[[Record, Prototype], float | None]:
    def label(record: Record, prototype: Prototype) -> float | None:
        energy = record.get("e_above_hull")
        return None if energy is None or leaves(record, prototype) != left else float(energy)

    return label


LEFT = 0.1  # Å of `displacement`; few of Castelli's crystals are near it
_FROM_CRYSTAL: dict[str, Callable[[Record, Prototype], float | None]] = {
    "a": lattice_constant,
    "displacement": displacement,
    "p_leaves": leaves,
    "e_if_stays": _energy_if(0.0),
    "e_if_leaves": _energy_if(1.0),
}


def poisson_ratio(record: Record) -> float | None:
    """Return Poisson's ratio of an isotropic solid, (3K - 2G) / (6K + 2G); None without bulk and shear modulus."""
    bulk, shear = record.get("bulk_modulus"), record.get("shear_modulus")
    if bulk is None or shear is None:
        return None
    return (3 * float(bulk) - 2 * float(shear)) / (6 * float(bulk) + 2 * float(shear))


def _log10(name: str) -> Callable[[Record], float | None]:
    def label(record: Record) -> float | None:
        value = record.get(name)
        return None if value is None or float(value) <= 0 else math.log10(float(value))

    return label


def _is_metal(record: Record) -> float | None:
    gap = record.get("band_gap")
    return None if gap is None else float(float(gap) == 0)


def soft_tilts(record: Record) -> float | None:
    """Return 1 if a cubic crystal is unstable to tilts: the softest phonon at R or M is imaginary; else 0.

    ``w_R`` and ``w_M`` are in THz, with imaginary frequencies as negative numbers. None unless both are given.
    """
    found = [record.get(name) for name in ("w_R", "w_M")]
    if any(value is None or value == "" for value in found):
        return None
    return float(min(float(value) for value in found if value is not None) < 0)


FROM_LABELS: dict[str, Callable[[Record], float | None]] = {
    "log10_bulk_modulus": _log10("bulk_modulus"),
    "log10_shear_modulus": _log10("shear_modulus"),
    "poisson_ratio": poisson_ratio,
    "metal": _is_metal,
    "soft_tilts": soft_tilts,
}
"""Targets derived from other labels: name → function that returns None if those are missing. A ``metal`` (1) has no
band gap."""
