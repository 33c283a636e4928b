"""Structures as candidates, as `screen structures` takes them: crystals from files, in the order of the files.

A run keeps them as records of its own, a line each: `{"id", "form", "content"}`, see `cgcnn.data.sample.Entry`. So a
run can be ranked when the files are gone, and workers need not see them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.read import stream
from cgcnn.data.sample import Entry
from cgcnn.elements import MAX_Z, SYMBOLS
from screening.store import Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BATCH = 64
"""Structures whose graphs are predicted together at most; see `screening.engine.compositions.BATCH`."""


@dataclass(frozen=True)
class Structures:
    """The structures of a run.

    Attributes:
        records: A line each.
        extra: None; no columns pass through.
    """

    records: Records
    extra: ClassVar[tuple[str, ...]] = ()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.records)

    def entries(self, start: int, stop: int) -> list[Entry]:
        """The structures [start, stop), not parsed yet.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        return [_entry(line) for line in self.records.read(start, stop)]

    def fingerprints(self, start: int, stop: int) -> NDArray[np.uint64]:
        """(n,) digests of the structures [start, stop), that show which row is which."""
        digests = b"".join(hashlib.blake2b(line, digest_size=8).digest() for line in self.records.read(start, stop))
        return np.frombuffer(digests, dtype="<u8")

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """The id of each of these structures, by index."""
        return {index: [_entry(line).id] for index, line in self.records.pick(indices)}

    def cif(self, index: int) -> str:
        """A structure as it was given, as CIF."""
        (entry,) = self.entries(index, index + 1)
        if entry.form == "cif":
            return entry.content
        with _quiet():
            return str(structure(entry.form, entry.content).to(fmt="cif"))


def read_structures(paths: Sequence[Path]) -> Structures:
    """Read the structures of files and directories, and parse none.

    Raises:
        UserError: As `cgcnn.data.read.stream`.
    """
    return Structures(draft(map(_line, stream(paths))))


def compositions(numbers: Sequence[NDArray[np.uint8]], counts: Sequence[NDArray[np.int32]]) -> NDArray[np.uint16]:
    """(n, 101) atoms of each element, by atomic number, in n cells.

    Args:
        numbers: For each cell, atomic numbers.
        counts: For each cell, how many atoms each of these numbers stands for.
    """
    rows = np.zeros((len(numbers), MAX_Z + 1), dtype=np.uint16)
    for i, (elements, atoms) in enumerate(zip(numbers, counts, strict=True)):
        rows[i] = np.bincount(elements, weights=atoms, minlength=MAX_Z + 1)
    return rows


def formula(composition: NDArray[np.uint16]) -> str:
    """Reduced formula of a cell, from the atoms (101,) of each element."""
    return _formula(composition.astype("<u2").tobytes())


@lru_cache(maxsize=4096)
def _formula(composition: bytes) -> str:
    from pymatgen.core.composition import Composition  # noqa: PLC0415  # heavy; only rankings of structures need it

    atoms = np.frombuffer(composition, dtype="<u2")
    with _quiet():
        return str(Composition({SYMBOLS[z]: int(atoms[z]) for z in np.flatnonzero(atoms)}).reduced_formula)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without pymatgen's warnings of elements that have no electronegativity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _line(entry: Entry) -> bytes:
    return json.dumps({"id": entry.id, "form": entry.form, "content": entry.content}, separators=(",", ":")).encode()


def _entry(line: bytes) -> Entry:
    record = json.loads(line)
    return Entry(record["id"], {}, record["form"], record["content"])
