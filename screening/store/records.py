"""The records that a run was given, such as structures or rows of a table, kept inside it.

A record is one line of bytes, and candidate i of the run is record i. Records lie in chunks of about a megabyte,
compressed; an index has a digest of each chunk, and the run's header the digest of the index. So the header stays
small, a worker reads what its block needs, and whatever changes on the disk is noticed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
import weakref
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from typing import Self

from cgcnn.errors import OddFileError, UserError
from screening.store.header import MANIFEST, UNREADABLE, canonical
from screening.store.place import Place, explain

FOLDER = f"{MANIFEST}/records"
INDEX = f"{FOLDER}/index.json"
CHUNK_BYTES = 2**20
"""Bytes of records after which a chunk is full."""
LARGEST_CHUNK = 2**28
"""Bytes of a chunk: the last record of one may be as large as a file of a crystal can be."""
LARGEST_INDEX = 2**28
"""Bytes of the index, enough for millions of chunks."""
GZIP = 16
"""Added to the window's size, it tells zlib that the content is gzip's."""
IN_MEMORY = 2**26
"""Bytes of compressed records that a draft keeps in memory; beyond, they go to a temporary file."""
CACHED = 4
"""Chunks that are kept uncompressed."""

Fetch = Callable[[int], bytes | None]
"""The compressed chunk of that number, if it is there."""


@dataclass(frozen=True)
class Index:
    """The chunks: how many records each has, and the digest of its bytes before compression."""

    counts: tuple[int, ...]
    digests: tuple[str, ...]

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first record of each chunk, and how many records there are."""
        return tuple(accumulate(self.counts, initial=0))

    @cached_property
    def content(self) -> bytes:
        """The index as a file."""
        return canonical({"counts": self.counts, "digests": self.digests})

    @cached_property
    def digest(self) -> str:
        """Of the index, and so of every record and their order."""
        return _digest(self.content)


class Records:
    """The records of a run, or of one that is to be made."""

    def __init__(self, index: Index, fetch: Fetch, source: str) -> None:
        self.index, self.source = index, source
        self._fetch = fetch
        self._lines = lru_cache(maxsize=CACHED)(self._load)

    @classmethod
    def at(cls, place: Place, digest: str) -> Self:
        """Open the records of a run.

        Args:
            place: Where the run is.
            digest: Of the index, from the run's header.

        Raises:
            UserError: The index is missing or damaged.
        """
        content = place.read(INDEX, LARGEST_INDEX)
        if content is None or _digest(content) != digest:
            raise _damage(place.url, f"{INDEX} is {'missing' if content is None else 'damaged'}")
        try:
            fields = json.loads(content)
            index = Index(tuple(fields["counts"]), tuple(fields["digests"]))
            _check(index)
        except UNREADABLE as error:
            raise _damage(place.url, f"{INDEX} is no index") from error
        return cls(index, partial(_chunk, place), place.url)

    def __len__(self) -> int:
        return self.index.starts[-1]

    def read(self, start: int, stop: int) -> list[bytes]:
        """Read records [start, stop).

        Raises:
            UserError: A chunk is missing or damaged.
        """
        starts = self.index.starts
        self._expect(stop)
        found: list[bytes] = []
        for number in range(bisect_right(starts, start) - 1, len(self.index.counts)):
            if starts[number] >= stop:
                break
            found += self._lines(number)[max(start - starts[number], 0) : stop - starts[number]]
        return found

    def pick(self, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """These records with their numbers, in ascending order, so that each chunk is read once.

        Raises:
            UserError: A chunk is missing or damaged.
        """
        for number in sorted(numbers):
            self._expect(number + 1)
            chunk = bisect_right(self.index.starts, number) - 1
            yield number, self._lines(chunk)[number - self.index.starts[chunk]]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Key and trouble of each chunk that is missing or damaged."""
        for number in range(len(self.index.counts)):
            if trouble := self._trouble(number, self._fetch(number)):
                yield chunk_key(number), trouble

    def put(self, place: Place) -> None:
        """Write into a run whatever it lacks of these records.

        Raises:
            UserError: It cannot be written.
        """
        if place.read(INDEX, LARGEST_INDEX) != self.index.content:
            place.write({INDEX: self.index.content})
        there = Records(self.index, partial(_chunk, place), place.url)
        for key, _ in list(there.problems()):
            place.write({key: self._fetch(chunk_number(key)) or b""})

    def _expect(self, count: int) -> None:
        if count > len(self):
            raise _damage(self.source, f"{INDEX} has {len(self)} records, not {count}")

    def _load(self, number: int) -> list[bytes]:
        packed = self._fetch(number)
        if trouble := self._trouble(number, packed):
            raise _damage(self.source, f"{chunk_key(number)} is {trouble}")
        return _unpacked(packed or b"").split(b"\n")[:-1]

    def _trouble(self, number: int, packed: bytes | None) -> str:
        if packed is None:
            return "missing"
        return "" if _digest(_unpacked(packed)) == self.index.digests[number] else "damaged"


def draft(lines: Iterable[bytes]) -> Records:
    """Draft records that are to go into a run, from their lines; memory does not grow with them.

    Args:
        lines: Without line breaks.

    Raises:
        UserError: There is no room for a temporary file.
    """
    spool = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  # lives as long as the records
    counts, digests, ends = [], [], [0]
    try:
        for chunk in _chunks(lines):
            content = b"".join(line + b"\n" for line in chunk)
            spool.write(gzip.compress(content, compresslevel=1, mtime=0))
            counts.append(len(chunk))
            digests.append(_digest(content))
            ends.append(spool.tell())
    except OSError as error:
        spool.close()
        raise explain(tempfile.gettempdir(), error) from error
    except BaseException:
        spool.close()
        raise

    def fetch(number: int) -> bytes:
        spool.seek(ends[number])
        return spool.read(ends[number + 1] - ends[number])

    records = Records(Index(tuple(counts), tuple(digests)), fetch, "the input")
    weakref.finalize(records, spool.close)
    return records


def chunk_key(number: int) -> str:
    """Return the key of a chunk."""
    return f"{FOLDER}/{number:06d}.jsonl.gz"


def chunk_number(key: str) -> int:
    """Inverse of `chunk_key`."""
    return int(key.removeprefix(f"{FOLDER}/").removesuffix(".jsonl.gz"))


def _chunks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _chunk(place: Place, number: int) -> bytes | None:
    """Read a compressed chunk; empty, and so damaged, if what lies there is not a file of such a size."""
    try:
        return place.read(chunk_key(number), LARGEST_CHUNK)
    except OddFileError:
        return b""


def _check(index: Index) -> None:
    """Raise ValueError unless the numbers of records are such, and each chunk has a digest."""
    counts = index.counts
    possible = all(type(count) is int and 0 < count <= LARGEST_CHUNK for count in counts)  # each has a line break
    if len(counts) != len(index.digests) or not possible:
        raise ValueError("not as many records as digests")


def _unpacked(packed: bytes) -> bytes:
    """Unpack a chunk; empty where it is damaged, which no chunk with records is."""
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | GZIP)
    try:
        content = unpack.decompress(packed, LARGEST_CHUNK)
    except zlib.error:
        return b""
    return content if unpack.eof else b""


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _damage(url: str, what: str) -> UserError:
    return UserError(f"{url}: {what}. Resume the run with the same input: that puts the records back.")
