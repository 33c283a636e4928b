"""Compositions: the elements on the sites of a prototype, from columns or from a crystal, and as integers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.data.samples import Record
    from cgcnn.graphs.prototype import Prototype

_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)))  # (27, 3)
_BOND = 0.64  # of a: longer than B-X (a/2), shorter than A-X (a/√2)
_ROLES = {0: "A", 2: "X", 6: "B"}  # bonds of an atom → its role in a perovskite


_SITE_WORDS = "sites?|elements?|elem|el|ions?|cations?|anions?|atoms?|symbols?"
_MARKS = "((?:'|(?:double)?prime|[\\d?\ufffd*^~+])*)"  # ? and others are primes that an encoding lost
_SITE = re.compile(rf"(?:{_SITE_WORDS})?([abx]){_MARKS}(?:{_SITE_WORDS})?{_MARKS}")
_PAIRS = ({"", "'"}, {"", "''"}, {"", "2"}, {"'", "''"}, {"1", "2"})  # marks of the two columns of B and B'


@dataclass(frozen=True)
class Composition:
    """The composition of a record: the position of its prototype among several, and the atomic numbers on its sites."""

    prototype: int
    numbers: tuple[int, ...]


def site_numbers(record: Record, prototype: Prototype) -> list[int]:
    """Read the atomic numbers (n_sites) of a record's sites from its site columns.

    A record names the elements by role (``A, B, X``, where X is one symbol or a list with one for each site) or by site
    (``A, B, X1, X2, X3``).

    Raises:
        UserError: A column is missing, has the wrong length or holds an unknown element.
    """
    symbols: Record = {}
    for role in prototype.role_names:
        sites = [site for site, of in zip(prototype.sites, prototype.roles, strict=True) if of == role]
        value = record.get(role)
        values = [value] * len(sites) if isinstance(value, str) else value
        if isinstance(values, list) and len(values) == len(sites):
            symbols |= dict(zip(sites, values, strict=True))
    symbols |= {site: record[site] for site in prototype.sites if isinstance(record.get(site), str)}
    for site in prototype.sites:
        if not isinstance(symbols.get(site), str):
            wanted = ",".join(prototype.sites)
            raise UserError(f"no element symbol for site {site}; columns needed: {wanted}")
    return [atomic_number(symbols[site]) for site in prototype.sites]


def site_columns(header: Sequence[str], prototype: Prototype | None = None) -> tuple[Prototype, dict[str, str]]:
    """Find the columns of a table that name elements on sites, in any published spelling.

    Besides ``A,B,X``, ``A,B,X1,X2,X3`` and ``A,B,B',X``, it knows spellings such as ``B1,B2``, ``A site`` and
    ``element_Bprime``. Lower case works if it is unambiguous: ``a`` beside ``A`` is a label.

    Args:
        header: Names of columns.
        prototype: Prototype with these sites; by default the double perovskite if two columns name B, else the cubic
            one.

    Returns:
        The prototype, and site or role → column that names it; X stands for X1, X2 and X3 if one column names them.

    Raises:
        UserError: A column is missing, or one looks like a site that the prototype does not have.
    """
    found = _site_marks(header)
    of_b = [marks for marks, _ in found["B"]]
    if prototype is None:
        prototype = PROTOTYPES["double-perovskite" if len(of_b) == 2 and set(of_b) in _PAIRS else "cubic-perovskite"]
        needed = _all_forms()
    else:
        needed = f"{_forms(prototype)} ({prototype.name})"
    columns: dict[str, str] = {}
    for role in ("A", "B", "X"):
        sites = [site for site in prototype.sites if site[0] == role]
        marks = dict(reversed(found[role]))
        if set(marks) == {""} and (role in sites or role == "X"):
            columns[role] = marks[""]
        elif role == "B" and "B'" in sites and set(marks) in _PAIRS:
            columns |= dict(zip(("B", "B'"), (column for _, column in found["B"]), strict=False))
        elif role == "X" and sites == ["X1", "X2", "X3"] and set(marks) == {"1", "2", "3"}:
            columns |= {f"X{mark}": marks[mark] for mark in "123"}
        elif "" in marks and (role in sites or role == "X"):
            columns[role] = marks[""]
    missing = [role for role in ("A", "B", "X") if not any(name[0] == role for name in columns)]
    if "B'" in prototype.sites and "B'" not in columns:
        missing.append("B'")
    stray = [column for role in "ABX" for _, column in found[role] if column not in columns.values()]
    if stray and not missing:
        raise UserError(
            f"column {stray[0]} looks like a site; the sites read are {','.join(columns.values())}. "
            f"The columns of candidates are {_all_forms()}; give other columns other names."
        )
    if missing:
        raise UserError(f"no column {' and '.join(missing)}; needed are {needed}")
    return prototype, columns


def _site_marks(header: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return role → (mark, column) of each column that may name its elements; a mark follows A, B or X: ``'``, ``2``.

    A bare ``a``, ``b`` or ``x`` counts only alone or beside others such as ``b'``: lattice constants have these names.
    """
    found: dict[str, list[tuple[str, str]]] = {"A": [], "B": [], "X": []}
    bare: dict[str, list[tuple[str, str]]] = {"A": [], "B": [], "X": []}
    for column in header:
        text = re.sub("[`\u00b4\u2018\u2019\u2032]", "'", re.sub('["\u201d\u2033]', "''", column))
        match = _SITE.fullmatch(re.sub(r"[\s_.\-()\[\]]+", "", text.casefold()))
        if match:
            marks = "".join(match.group(2, 3)).replace("doubleprime", "''").replace("prime", "'")
            (bare if re.fullmatch(r"[abx]\d*", column) else found)[match.group(1).upper()].append((marks, column))
    for role, others in found.items():
        if bare[role] and all(marks and column[0].islower() for marks, column in others):
            found[role] = sorted([*bare[role], *others], key=lambda named: list(header).index(named[1]))
    return found


def _all_forms() -> str:
    return ", or ".join(f"{_forms(prototype)} ({name})" for name, prototype in PROTOTYPES.items())


def _forms(prototype: Prototype) -> str:
    """List the columns that can name the sites of a prototype."""
    by_role = (
        site if role in prototype.sites else role for site, role in zip(prototype.sites, prototype.roles, strict=True)
    )
    return " or ".join(dict.fromkeys(",".join(dict.fromkeys(columns)) for columns in (by_role, prototype.sites)))


def species(compositions: Sequence[Composition], prototypes: Sequence[Prototype]) -> NDArray[np.uint8]:
    """Return canonical rows (n, n_sites of the largest prototype) uint8; 0 beyond the sites of a row's prototype."""
    table = np.zeros((len(compositions), max(len(prototype.sites) for prototype in prototypes)), dtype=np.uint8)
    for position, prototype in enumerate(prototypes):
        rows = [i for i, row in enumerate(compositions) if row.prototype == position]
        numbers = np.array([compositions[i].numbers for i in rows], dtype=np.uint8).reshape(-1, len(prototype.sites))
        table[rows, : len(prototype.sites)] = prototype.canonical(numbers)
    return table


def composition_keys(species: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return (n,) one integer for each canonical row of species (n, n_sites ≤ 9), with seven bits per site.

    No site is empty, so rows with different numbers of sites have different keys.
    """
    keys = np.zeros(len(species), dtype=np.int64)
    for column in species.T:
        keys = keys << 7 | column
    return keys


def compositions(keys: NDArray[np.int64], n_sites: int) -> NDArray[np.uint8]:
    """Return the rows (k, n_sites) of those keys (n,) that have n_sites sites; the inverse of `composition_keys`."""
    mine = keys[keys >> 7 * (n_sites - 1) > 0]  # fewer sites leave these bits empty
    mine = mine[mine >> 7 * (n_sites - 1) < 128]
    return (mine[:, None] >> 7 * np.arange(n_sites - 1, -1, -1) & 127).astype(np.uint8)


def group(composition: Composition, prototypes: Sequence[Prototype], groups: int) -> int:
    """Return one of ``groups`` numbers for a composition, by its reduced formula alone."""
    sites = prototypes[composition.prototype].atoms
    return formula_group(Counter(composition.numbers[site] for site in sites), groups)


def formula_group(counts: Mapping[int, int], groups: int) -> int:
    """Return one of ``groups`` numbers for a formula, atomic number → atoms, by its reduced form alone."""
    shared = gcd(*counts.values())
    formula = ",".join(f"{number}:{count // shared}" for number, count in sorted(counts.items()))
    return int.from_bytes(hashlib.sha256(formula.encode()).digest()[:8]) % groups


def composition_or_reason(record: Record, prototypes: Sequence[Prototype]) -> Composition | str:
    """Return `composition`, or the reason why there is none."""
    try:
        return composition(record, prototypes)
    except UserError as error:
        return str(error)


def shapes(records: Sequence[Record], names: Sequence[str]) -> list[Prototype | None]:
    """Return the prototype of each record among those of these names, or None."""
    prototypes = [PROTOTYPES[name] for name in names]
    found = (composition_or_reason(record, prototypes) for record in records)
    return [prototypes[row.prototype] if isinstance(row, Composition) else None for row in found]


def composition(record: Record, prototypes: Sequence[Prototype]) -> Composition:
    """Find the first prototype that fits a record, and the elements on its sites.

    Columns such as ``A, B, X`` decide; without them, the record's crystal does, if it is a perovskite of a prototype.
    The geometry is used for nothing else.

    Raises:
        UserError: A column is missing or holds no element, and there is no crystal of a prototype.
    """
    exact = sorted(range(len(prototypes)), key=lambda i: not set(prototypes[i].sites) <= record.keys())
    reasons: list[str] = []
    for i in exact:
        try:
            return Composition(i, tuple(site_numbers(record, prototypes[i])))
        except UserError as error:
            reasons.append(str(error))
    found = perovskite_roles(record)
    if found is not None:
        for i, prototype in enumerate(prototypes):
            sites = _on_sites(*found, prototype)
            if sites is not None:
                return Composition(i, tuple(sites))
        raise UserError(f"a perovskite, but not ordered as in {' or '.join(p.name for p in prototypes)}")
    has_crystal = record.get("species") is not None
    raise UserError(reasons[0] + (", and its crystal is no cubic perovskite" if has_crystal else ""))


def perovskite_roles(record: Record) -> tuple[list[str], list[str], list[tuple[int, ...]]] | None:
    """Find the symbols and roles of the atoms of ``cell``, ``species`` and ``frac``, and each atom's bonds.

    An atom is on A, B or X if it has zero, six or two neighbours of other elements nearer than 0.64 a, where a³ is the
    volume of five atoms. None if another number occurs, the roles are not 1 : 1 : 3, a bond is not between B and X, or
    there is no crystal.
    """
    try:
        lattice = cell_vectors(record["cell"])
        symbols, frac = list(record["species"]), np.asarray(record["frac"], dtype=np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError):
        return None
    if len(symbols) != len(frac) or not len(frac):
        return None
    a = (abs(np.linalg.det(lattice)) * 5 / max(len(symbols), 1)) ** (1 / 3)
    delta = frac[:, None] - frac[None]
    delta -= np.round(delta)
    length = np.linalg.norm((delta[:, :, None] + _IMAGES) @ lattice, axis=-1)  # (N, N, 27)
    unlike = np.array(symbols)[:, None] != np.array(symbols)  # (N, N); X may come near X
    bonds = ((length < _BOND * a) & unlike[:, :, None]).sum(axis=2)  # (N, N)
    roles = [_ROLES.get(int(count), "") for count in bonds.sum(axis=1)]
    counts = [roles.count(role) for role in "ABX"]
    if "" in roles or counts[0] != counts[1] or counts[2] != 3 * counts[1]:
        return None
    partners = [tuple(np.repeat(np.arange(len(roles)), row).tolist()) for row in bonds]
    if any(roles[j] == roles[i] for i, bonded in enumerate(partners) for j in bonded):
        return None
    return symbols, roles, partners


def _on_sites(
    symbols: list[str], roles: list[str], partners: list[tuple[int, ...]], prototype: Prototype
) -> list[int] | None:
    """Return the atomic numbers on the sites of a prototype, or None if the crystal does not fill it."""
    numbers = [0] * len(prototype.sites)
    for role in prototype.role_names:
        sites = [i for i, of in enumerate(prototype.roles) if of == role]
        atoms = [symbol for symbol, of in zip(symbols, roles, strict=True) if of == role]
        if len(set(atoms)) > 1 and len(sites) != len(atoms):
            return None
        chosen = atoms if len(atoms) == len(sites) else atoms[:1] * len(sites)
        for site, symbol in zip(sites, chosen, strict=True):
            numbers[site] = atomic_number(symbol)
    return numbers if _alternates(symbols, roles, partners) else None


def _alternates(symbols: list[str], roles: list[str], partners: list[tuple[int, ...]]) -> bool:
    """Return whether every X joins different elements on B, if there are two."""
    kinds = {symbol for symbol, role in zip(symbols, roles, strict=True) if role == "B"}
    joined = [{symbols[j] for j in partners[i]} for i, role in enumerate(roles) if role == "X"]
    return len(kinds) == 1 or all(len(pair) == len(kinds) for pair in joined)


def cell_vectors(cell: Sequence[float]) -> NDArray[np.float64]:
    """Return lattice vectors (3, 3) in Å as rows, of a cell: three lengths in Å, then three angles in degrees."""
    a, b, c, *angles = cell
    alpha, beta, gamma = np.cos(np.radians(angles))
    sin = np.sin(np.radians(angles[2]))
    y = (alpha - beta * gamma) / sin
    z = np.sqrt(max(1 - beta**2 - y**2, 0.0))
    return np.array([[a, 0, 0], [b * gamma, b * sin, 0], [c * beta, c * y, c * z]])
