"""Texts of many candidates at once, as Arrow arrays of strings: symbols, formulas, oxidation states."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cgcnn.elements import SYMBOLS
from cgcnn.files import printable
from screening.chemistry.assignment import assign
from screening.chemistry.oxidation import ICSD, ion_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype

MOST_CHARGE = 9
"""Largest charge of an ion, either sign."""

_NOTHING = pa.nulls(1, pa.string())[0]

ANIONS = ("O", "C", "N", "H", "Te", "Se", "S", "At", "I", "Br", "Cl", "F")
"""Elements on X in the order in which formulas have them: oxygen first, as in LaTaON2 and SrFeO2F, the others in the
sequence of IUPAC (Red Book 2005, table VI), the least electronegative first, as in CsPbIBr2; others before them."""


def array(values: NDArray[Any]) -> pa.Array:
    """Make an Arrow array of numbers or flags (n,) without a copy; NaN is null.

    `pyarrow.array` does the same, but imports pandas first, which takes as long as a small screen.
    """
    if values.dtype == bool:
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    kind = pa.from_numpy_dtype(values.dtype)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, dtype=bool)
    there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    return pa.Array.from_buffers(kind, len(values), [there, pa.py_buffer(np.ascontiguousarray(values))])


def strings(texts: Sequence[str]) -> pa.Array:
    """Make an array of texts that may come from anywhere: control characters are escaped, empty texts are null."""
    parts = [printable(text).encode() for text in texts]
    return _nonempty(b"".join(parts), np.array([len(part) for part in parts], dtype=np.int64))


def _nonempty(content: bytes, lengths: NDArray[np.int64]) -> pa.Array:
    """Make an array of texts of these lengths in bytes, one behind the other; empty texts are null."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    there = pa.py_buffer(np.packbits(lengths > 0, bitorder="little"))
    large = pa.Array.from_buffers(pa.large_string(), len(lengths), [there, pa.py_buffer(ends), pa.py_buffer(content)])
    return large.cast(pa.string())


def symbols(numbers: NDArray[np.uint8]) -> pa.Array:
    """Look up the symbols of atomic numbers (n,), as a dictionary array."""
    return pa.DictionaryArray.from_arrays(array(numbers), _symbols())


def formulas(species: NDArray[np.uint8], prototype: Prototype, charges: NDArray[np.int8] | None = None) -> pa.Array:
    """Write the formulas of species (n, n_sites) as chemists do: BaTiO3, LaTaON2, Cs2AgYCl6.

    Elements come in the order of the sites, of B and B' the less charged one first, those on X in the order of
    `ANIONS`. A formula does not always say which element is on which site.

    Args:
        species: (n, n_sites) atomic numbers.
        prototype: Whose sites they are on.
        charges: (n, n_sites) oxidation states; without them the most likely ones are worked out.
    """
    species = order_b(species, prototype, charges)
    atoms = np.bincount(prototype.atoms)  # (n_sites,)
    most = int(atoms.sum())
    species = order_anions(species, prototype)
    parts = []
    for site in range(species.shape[1]):
        same = species == species[:, site : site + 1]  # (n, n_sites)
        counts = same @ atoms
        counts[same[:, :site].any(axis=1)] = 0  # written already, at the first site that has the element
        parts.append(_counted(most).take(array(species[:, site] * np.int32(most + 1) + counts.astype(np.int32))))
    return pc.binary_join_element_wise(*parts, _separators()[0])


def order_b(
    species: NDArray[np.uint8], prototype: Prototype, charges: NDArray[np.int8] | None = None
) -> NDArray[np.uint8]:
    """Order B and B' of species (n, n_sites) as a formula has them: the less charged first, see `formulas`."""
    on_b = [site for site, role in enumerate(prototype.roles) if role == "B"]
    if len(on_b) != 2 or not len(species):
        return species
    states = assign(species, prototype, ICSD).charges if charges is None else charges
    swapped = states[:, on_b[0]] > states[:, on_b[1]]
    first, second = on_b
    ordered = species.copy()
    ordered[swapped, first], ordered[swapped, second] = species[swapped, second], species[swapped, first]
    return ordered


def order_anions(species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.uint8]:
    """Order the elements on X of species (n, n_sites) as a formula has them."""
    on_x = np.flatnonzero(prototype.on_x)
    if len(on_x) < 2:
        return species
    anions = species[:, on_x]
    ordered = species.copy()
    ordered[:, on_x] = np.take_along_axis(anions, np.argsort(_places()[anions], axis=1, kind="stable"), axis=1)
    return ordered


def states(species: NDArray[np.uint8], charges: NDArray[np.int8]) -> pa.Array:
    """Write the ions of species (n, n_sites) with these charges, such as ``Ca2+ Ti4+ O2-``; null where none balance."""
    ions = species * np.int32(2 * MOST_CHARGE + 1) + (charges.astype(np.int32) + MOST_CHARGE)
    balanced = np.asarray(charges.any(axis=1))
    parts = []
    for site in range(species.shape[1]):
        repeated = (ions[:, :site] == ions[:, site : site + 1]).any(axis=1)
        parts.append(pc.if_else(array(repeated), _NOTHING, _ions().take(array(ions[:, site]))))
    joined = pc.binary_join_element_wise(*parts, _separators()[1], null_handling="skip")
    return pc.if_else(array(balanced), joined, _NOTHING)


def from_bytes(letters: NDArray[np.uint8]) -> pa.Array:
    """Read texts (n, w) of ASCII bytes, padded with NUL; null where there is nothing."""
    if not letters.shape[1]:
        return pa.nulls(len(letters), pa.string())
    if ((letters < ord(" ")) & (letters > 0) | (letters > ord("~"))).any():
        return strings([bytes(row).rstrip(b"\0").decode(errors="replace") for row in letters])
    return _nonempty(letters[letters > 0].tobytes(), np.count_nonzero(letters, axis=1))


def _listed(texts: Sequence[str]) -> pa.Array:
    return pc.coalesce(strings(texts), pa.StringArray.from_buffers(1, pa.py_buffer(bytes(8)), pa.py_buffer(b""))[0])


@cache
def _separators() -> pa.Array:
    return _listed(["", " "])  # a text of Python would import pandas too


@cache
def _symbols() -> pa.Array:
    return _listed(SYMBOLS)


@cache
def _ions() -> pa.Array:
    """List the ions of all elements, each with charges from -9 to 9."""
    charges = range(-MOST_CHARGE, MOST_CHARGE + 1)
    return _listed([ion_text(z, charge) for z in range(len(SYMBOLS)) for charge in charges])


@cache
def _places() -> NDArray[np.int64]:
    """Give each element's place among the anions of a formula: (101,), -1 if it has none."""
    return np.array([ANIONS.index(symbol) if symbol in ANIONS else -1 for symbol in SYMBOLS])


@cache
def _counted(most: int) -> pa.Array:
    """List the symbols of all elements, each with 0 to `most` atoms."""
    return _listed(
        [
            (symbol + (str(count) if count > 1 else "")) if count else ""
            for symbol in SYMBOLS
            for count in range(most + 1)
        ]
    )
