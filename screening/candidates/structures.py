"""Candidates that are crystals from files, in the order of the files, as `screen structures` takes them.

A run keeps its own copy of them, a record each: `{"id", "form", "content", "path"}` of a `cgcnn.data.samples.Sample`.
You can rank the run after the files are gone, and workers need not see them.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.read import stream
from cgcnn.data.samples import Sample
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite
from cgcnn.inference.predict import BATCH
from screening.candidates.kind import SORTABLE, STATUS, UNTILTED, Field, Grain, with_threshold
from screening.candidates.texts import ANIONS, from_bytes, strings
from screening.store import Column, Records, draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.models.card import Card
    from screening.candidates.kind import Notes

LONGEST = len("rock-salt distorted a+b-c-")
"""The longest text of `cgcnn.graphs.perovskite.Perovskite`."""

_SHOWN_BY = (
    Column("fingerprint", "uint64", "", "digest of the structure as it was given", 0),
    Column("composition", "uint16", "", "atoms in the cell by atomic number", 0, (MAX_Z + 1,), ("element",)),
    Column("perovskite", "uint8", "", "order on B, family, tilts, as ASCII; 0 if none", 0, (LONGEST,), ("letter",)),
)
"""Columns that say which structure a row is."""


@dataclass(frozen=True)
class Structures:
    """The structures of a run.

    Attributes:
        records: A line for each.
    """

    records: Records
    kind: ClassVar[str] = "structures"
    grain: ClassVar[Grain] = Grain(BATCH, block=8_192, per_worker=8, counted=2_048, sifted=64, few=256)
    ranked: ClassVar[tuple[Column, ...]] = SORTABLE[:4]
    shown_by: ClassVar[tuple[str, ...]] = ("composition", "perovskite")
    name_columns: ClassVar[tuple[str, ...]] = ("id",)
    remark_columns: ClassVar[tuple[Field, ...]] = (
        Field("perovskite", "text", description="kind of perovskite, with its tilts; empty if it is not one"),
    )
    text_columns: ClassVar[tuple[str, ...]] = ("id", "path")

    @classmethod
    def of_definition(cls, definition: Mapping[str, Any], records: Records) -> Self:  # noqa: ARG003  # as others have it
        """Make the structures of a run's records."""
        return cls(records)

    @property
    def definition(self) -> dict[str, Any]:
        """Nothing: the records say it all."""
        return {}

    def columns(self, stable_at: float) -> tuple[Column, ...]:
        """Return all columns of a run, for this threshold of `p_stable`, eV/atom."""
        return (*_SHOWN_BY, STATUS, *with_threshold(self.ranked, stable_at))

    @property
    def count(self) -> int:
        """The number of structures."""
        return len(self.records)

    def entries(self, start: int, stop: int) -> list[Sample]:
        """Read the structures [start, stop), without parsing them.

        Raises:
            UserError: The run's copy of them is damaged.
        """
        return [_entry(line) for line in self.records.read(start, stop)]

    def fingerprints(self, start: int, stop: int) -> NDArray[np.uint64]:
        """Compute digests (n,) of the structures [start, stop), which prove which row is which."""
        digests = b"".join(hashlib.blake2b(line, digest_size=8).digest() for line in self.records.read(start, stop))
        return np.frombuffer(digests, dtype="<u8")

    def identity(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Compute `fingerprint` of the structures [start, stop)."""
        return {"fingerprint": self.fingerprints(start, stop)}

    def texts(self, indices: Iterable[int]) -> dict[int, list[str]]:
        """Read the id and the file of each of these structures, by index."""
        entries = ((index, _entry(line)) for index, line in self.records.pick(indices))
        return {index: [entry.id, entry.path] for index, entry in entries}

    def labels(self, rows: Mapping[str, np.ndarray]) -> dict[str, pa.Array]:
        """Write reduced formula and kind of perovskite of n rows."""
        kinds = rows["perovskite"]
        formulas = [
            formula(row, is_perovskite=bool(kind.any())) for row, kind in zip(rows["composition"], kinds, strict=True)
        ]
        return {"formula": strings(formulas), "perovskite": from_bytes(kinds)}

    def formulas(self, atoms: NDArray[Any]) -> pa.Array:
        """Write the reduced formulas of structures from their atoms (n, 101) of each element."""
        return strings([formula(row.astype(np.uint16)) for row in atoms])

    @property
    def site_groups(self) -> dict[str, tuple[int, ...]]:
        """None: structures have no sites."""
        return {}

    @property
    def mixes_anions(self) -> bool:
        """No: structures have no X."""
        return False

    def noted(self, *notes: Notes) -> Self:  # noqa: ARG002  # as other kinds have it
        """Return these: notes are on compositions of sites, which structures do not have."""
        return self

    def structure(
        self,
        index: int,
        a: float = float("nan"),  # noqa: ARG002  # it has a cell of its own
        tilts: str = UNTILTED,
        *,
        conventional: bool = False,
    ) -> Structure:
        """Parse a structure as it was given."""
        if tilts != UNTILTED:
            raise UserError(f"`tilts` {tilts}: structures stay as they were given; leave `tilts` out")
        if conventional:
            raise UserError("`cell` conventional: structures stay as they were given; leave `cell` out")
        (entry,) = self.entries(index, index + 1)
        return structure(entry.form, entry.content)

    def cif(self, index: int, a: float = float("nan")) -> str:  # noqa: ARG002  # it has a cell of its own
        """Write a structure as it was given, as CIF."""
        (entry,) = self.entries(index, index + 1)
        if entry.form == "cif":
            return entry.content
        with _quiet():
            return str(structure(entry.form, entry.content).to(fmt="cif"))

    def unfit(self, card: Card) -> str:
        """Explain why a model cannot screen structures; empty if it can."""
        targets = [target.name for target in card.targets]
        if card.input == "structure" and "e_above_hull" in targets:
            return ""
        return (
            f"predicts {', '.join(targets)} of {card.input}s; structures need a model that predicts e_above_hull of "
            "structures"
        )


def read_structures(paths: Sequence[Path]) -> Structures:
    """Read the structures of files and directories, without parsing them.

    Raises:
        UserError: As `cgcnn.data.read.stream`.
    """
    return Structures(draft(map(_line, stream(paths))))


def kinds_of_perovskite(entries: Sequence[Sample], batch: GraphBatch, built: Sequence[int]) -> NDArray[np.uint8]:
    """Find out what kind of perovskite each of n structures is: (n, LONGEST) ASCII, 0 if it is none.

    Only structures whose numbers of atoms allow it are parsed.

    Args:
        entries: The n structures.
        batch: The graphs of some.
        built: The positions of these.
    """
    found = np.zeros((len(entries), LONGEST), dtype=np.uint8)
    atoms = np.bincount(batch.graph, weights=batch.multiplicity, minlength=len(batch))
    for i in np.flatnonzero((atoms % 5 == 0) & (batch.nodes >= 3)).tolist():  # A, B and X
        entry = entries[built[i]]
        kind = find_perovskite(structure(entry.form, entry.content))
        if kind is not None:
            found[built[i], : len(kind.text)] = np.frombuffer(kind.text.encode(), dtype=np.uint8)
    return found


def compositions(numbers: Sequence[NDArray[np.uint8]], counts: Sequence[NDArray[np.int32]]) -> NDArray[np.uint16]:
    """Count the atoms of each element, by atomic number, in n cells: (n, 101).

    Args:
        numbers: For each cell, atomic numbers.
        counts: For each cell, how many atoms each of these numbers stands for.
    """
    rows = np.zeros((len(numbers), MAX_Z + 1), dtype=np.uint16)
    for i, (elements, atoms) in enumerate(zip(numbers, counts, strict=True)):
        rows[i] = np.bincount(elements, weights=atoms, minlength=MAX_Z + 1)
    return rows


def formula(composition: NDArray[np.uint16], *, is_perovskite: bool = False) -> str:
    """Write the reduced formula of a cell, from the atoms (101,) of each element, as chemists do.

    Elements come in the order of their electronegativities. If three fifths of the atoms of a perovskite are `ANIONS`,
    these come last, in their own order: LaTaON2 rather than LaTaN2O.
    """
    return _formula(composition.astype("<u2").tobytes(), is_perovskite)


@lru_cache(maxsize=4096)
def _formula(composition: bytes, is_perovskite: bool) -> str:  # noqa: FBT001  # a key of the cache
    from pymatgen.core.composition import Composition

    atoms = np.frombuffer(composition, dtype="<u2")
    counts = {SYMBOLS[z]: int(atoms[z]) for z in np.flatnonzero(atoms)}
    with _quiet():
        reduced = Composition(counts)
        if is_perovskite and 5 * sum(counts.get(symbol, 0) for symbol in ANIONS) == 3 * sum(counts.values()):
            return _with_anions_last(reduced.element_composition.get_el_amt_dict())
        return str(reduced.reduced_formula)


def _with_anions_last(counts: Mapping[str, float]) -> str:
    """Write a reduced formula with its anions at the end, in their order: BaPrCo2O6, LaTaON2."""
    from pymatgen.core.periodic_table import Element  # heavy, as above

    cations = sorted((symbol for symbol in counts if symbol not in ANIONS), key=lambda symbol: Element(symbol).X)
    order = [*cations, *sorted((symbol for symbol in counts if symbol in ANIONS), key=ANIONS.index)]
    units = math.gcd(*(round(count) for count in counts.values()))
    whole = ((symbol, round(counts[symbol]) // units) for symbol in order)
    return "".join(f"{symbol}{count}" if count > 1 else symbol for symbol, count in whole)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pymatgen's warnings about elements that have no electronegativity."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _line(entry: Sample) -> bytes:
    record = {"id": entry.id, "form": entry.form, "content": entry.content, "path": entry.path}
    return json.dumps(record, separators=(",", ":")).encode()


def _entry(line: bytes) -> Sample:
    record = json.loads(line)
    return Sample(record["id"], {}, record["form"], record["content"], record["path"])
