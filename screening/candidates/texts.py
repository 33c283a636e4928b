"""Texts of many candidates at once, as bytes.

The texts of n rows are an array (w, n) of bytes, one row of texts below the other, with NUL where one is shorter or has
nothing to say; no text of a table has a NUL. Arrays below each other are texts one behind the other.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import SYMBOLS
from screening.chemistry.oxidation import ion_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype

    Text = NDArray[np.uint8]

MOST_CHARGE = 9
"""Of an ion, either sign."""


ANIONS = ("O", "C", "N", "H", "Te", "Se", "S", "At", "I", "Br", "Cl", "F")
"""Elements on X in the order in which formulas have them: oxygen first, as in LaTaON2 and SrFeO2F, the others in the
sequence of IUPAC (Red Book 2005, table VI), the least electronegative first, as in CsPbIBr2; others before them."""


def make_text(texts: Sequence[str]) -> Text:
    """The texts (w, n) of n strings."""
    whole = np.array([text.encode() for text in texts], dtype=np.bytes_)
    return whole.view(np.uint8).reshape(len(texts), whole.itemsize).T.copy()


def read_texts(texts: Text | list[str]) -> list[str]:
    """The inverse of `make_text`; of strings, these."""
    if isinstance(texts, list):
        return texts
    return [bytes(column).replace(b"\0", b"").decode() for column in texts.T]


def symbols_text(numbers: NDArray[np.uint8]) -> Text:
    """Symbols of atomic numbers (n,)."""
    return np.take(_symbols(), numbers, axis=1)


def formulas_text(species: NDArray[np.uint8], prototype: Prototype) -> Text:
    """Formulas of species (n, n_sites), as `screening.candidates.compositions.formula` writes each."""
    atoms = np.bincount(prototype.atoms)  # of each site
    species = order_anions(species, prototype)
    parts = []
    for site in range(species.shape[1]):
        same = species == species[:, site : site + 1]  # (n, n_sites)
        counts = (same * atoms).sum(axis=1)
        counts[same[:, :site].any(axis=1)] = 0  # said already, with the first site that has the element
        parts.append(np.take(_counted(int(atoms.sum())), species[:, site] * np.intp(atoms.sum() + 1) + counts, axis=1))
    return np.concatenate(parts)


def order_anions(species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.uint8]:
    """Species (n, n_sites) with the elements on X as a formula has them one after another."""
    on_x = np.flatnonzero(prototype.on_x)
    if len(on_x) < 2:
        return species
    anions = species[:, on_x]
    ordered = species.copy()
    ordered[:, on_x] = np.take_along_axis(anions, np.argsort(_places()[anions], axis=1, kind="stable"), axis=1)
    return ordered


def states_texts(species: NDArray[np.uint8], charges: NDArray[np.int8]) -> Text:
    """The ions of species (n, n_sites) with these charges, as `screening.chemistry.oxidation.states_text` of each."""
    states = species * np.intp(2 * MOST_CHARGE + 1) + (charges.astype(np.intp) + MOST_CHARGE)
    told = charges.any(axis=1)
    parts = []
    for site in range(species.shape[1]):
        new = told & ~(states[:, :site] == states[:, site : site + 1]).any(axis=1)
        text = np.take(_ions(), states[:, site], axis=1)  # with a blank before each
        parts.append((text if site else text[1:]) * new)
    return np.concatenate(parts)


@cache
def _ions() -> Text:
    """A blank and an ion, of all elements, one behind the other with charges from -9 to 9."""
    charges = range(-MOST_CHARGE, MOST_CHARGE + 1)
    return make_text([f" {ion_text(z, charge)}" for z in range(len(SYMBOLS)) for charge in charges])


@cache
def _places() -> NDArray[np.int64]:
    """(101,) place of each element among the anions of a formula."""
    return np.array([ANIONS.index(symbol) if symbol in ANIONS else -1 for symbol in SYMBOLS])


@cache
def _symbols() -> Text:
    return make_text(SYMBOLS)


@cache
def _counted(most: int) -> Text:
    """Symbols with a number of atoms, of all elements, one behind the other with 0 to `most` atoms."""
    return make_text(
        [
            (symbol + (str(count) if count > 1 else "")) if count else ""
            for symbol in SYMBOLS
            for count in range(most + 1)
        ]
    )
