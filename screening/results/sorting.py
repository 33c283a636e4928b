"""Sorting more rows than memory should hold: sorted stretches in a temporary file, then one merge of them all."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np

from screening.results.ranking import order_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from screening.results.ranking import Columns, Rows

STRETCH = 2**19
"""Rows that are sorted in memory at once: some eighty bytes each, and twice that while they are sorted."""
LEAST = 2**10
"""Rows that a merge holds of each stretch at least; of all together it holds `STRETCH`, if that is more."""


@dataclass
class Stretch:
    """Sorted rows in a file, read from the front on.

    Attributes:
        file: Where they lie.
        at: Of the first row that was not read, in bytes.
        left: Rows that were not read.
        held: Rows that were read and are yet to be merged.
    """

    file: IO[bytes]
    at: int
    left: int
    held: np.ndarray

    def refill(self, rows: int) -> None:
        """Hold so many rows, or all that are left."""
        kind = self.held.dtype
        wanted = max(min(rows - len(self.held), self.left), 0)
        self.file.seek(self.at)
        read = np.frombuffer(self.file.read(wanted * kind.itemsize), dtype=kind)
        self.held = np.concatenate([self.held, read])
        self.at += wanted * kind.itemsize
        self.left -= wanted

    def below(self, key: np.bytes_) -> np.ndarray:
        """Take the rows held that come before those of a key."""
        return self._take(int(np.searchsorted(self.held["key"], key, side="left")))

    def equal(self, key: np.bytes_, rows: int) -> Iterator[np.ndarray]:
        """Take the rows of a key, also those not held yet, once the rows below it are gone."""
        while len(self.held) or self.left:
            yield self._take(int(np.searchsorted(self.held["key"], key, side="right")))
            if len(self.held):
                return
            self.refill(rows)

    def _take(self, count: int) -> np.ndarray:
        taken, self.held = self.held[:count], self.held[count:]
        return taken


def sort_rows(batches: Iterable[Columns], sort: str, folder: Path | None, stretch: int = STRETCH) -> Iterator[Rows]:
    """Rows of many batches in the order of `screening.results.ranking.rank`, a batch at a time, in bounded memory.

    Args:
        batches: Columns of equal kinds, with ascending `index` from batch to batch.
        sort: What decides, see `screening.results.ranking.rank`.
        folder: Where more rows than memory should hold are kept meanwhile; None takes that for temporary files.
        stretch: Rows that are sorted in memory at once.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        stretches: list[Stretch] = []
        at = 0
        for records in _stretches(batches, sort, stretch):
            ordered = _sorted(records)
            if not stretches and len(ordered) < stretch:  # these are all
                yield _columns(ordered)
                return
            file.write(ordered.data)
            stretches.append(Stretch(file, at, len(ordered), ordered[:0].copy()))
            at += ordered.nbytes
        del ordered, records
        for merged in _merged(stretches, max(LEAST, stretch // max(len(stretches), 1))):
            yield _columns(merged)


def _stretches(batches: Iterable[Columns], sort: str, size: int) -> Iterator[np.ndarray]:
    """The rows as records, so many at a time."""
    waiting: list[np.ndarray] = []
    count = 0
    for rows in batches:
        waiting.append(_records(rows, sort))
        count += len(waiting[-1])
        while count >= size:
            whole = np.concatenate(waiting)
            yield whole[:size]
            waiting, count = [whole[size:].copy()], count - size
    if count:
        yield np.concatenate(waiting)


def _records(rows: Columns, sort: str) -> np.ndarray:
    """Rows (n,) with all their columns, and `key`: bytes that compare as the rows do, short of the index."""
    key = _key(rows, sort)
    fields = [(name, values.dtype, values.shape[1:]) for name, values in rows.items()]
    records = np.empty(len(key), dtype=[*fields, ("key", key.dtype)])
    for name, values in {**rows, "key": key}.items():
        records[name] = values
    return records


def _key(rows: Columns, sort: str) -> np.ndarray:
    words = np.stack([_unsigned(values) for values in order_keys(rows, sort)], axis=1)
    return np.ascontiguousarray(words, dtype=">u4").view(f"S{4 * words.shape[1]}").reshape(-1)


def _unsigned(values: np.ndarray) -> np.ndarray:
    """(n,) uint32 in the order of numbers that float32 can hold; NaN comes last."""
    plain = values.astype(np.float32) + np.float32(0)  # -0 is 0
    bits = plain.view(np.uint32)
    negative = bits >> 31 == 1
    ordered = np.where(negative, ~bits, bits | np.uint32(1 << 31))
    return np.where(np.isnan(plain), np.uint32(0xFFFFFFFF), ordered)


def _sorted(records: np.ndarray) -> np.ndarray:
    """Records by key, those of one key by index.

    The first two words decide nearly always, and numbers sort much faster than bytes.
    """
    words = np.ascontiguousarray(records["key"]).view(">u4").reshape(len(records), records.dtype["key"].itemsize // 4)
    first = (words[:, 0].astype(np.uint64) << 32) | words[:, 1]
    order = np.argsort(first)
    tied = first[order[1:]] == first[order[:-1]]
    places = np.flatnonzero(np.append(tied, False) | np.insert(tied, 0, False))
    among = order[places]
    further = [words[among, word] for word in reversed(range(2, words.shape[1]))]
    order[places] = among[np.lexsort((records["index"][among], *further, first[among]))]
    return np.take(records, order)  # ten times as fast as an index, for records


def _columns(records: np.ndarray) -> Rows:
    return {name: records[name] for name in records.dtype.names or () if name != "key"}


def _merged(stretches: list[Stretch], size: int) -> Iterator[np.ndarray]:
    """The rows of sorted stretches in one order; of those of one key, rows of an earlier stretch come first."""
    while stretches:
        for stretch in stretches:
            stretch.refill(size)
        ends = [stretch.held["key"][-1] for stretch in stretches if stretch.left]
        if not ends:
            yield _sorted(np.concatenate([stretch.held for stretch in stretches]))
            return
        key = min(ends)
        yield _sorted(np.concatenate([stretch.below(key) for stretch in stretches]))
        for stretch in stretches:
            yield from stretch.equal(key, size)
        stretches = [stretch for stretch in stretches if len(stretch.held) or stretch.left]
