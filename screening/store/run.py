"""A run: one Zarr group of a row for each candidate, filled block by block and committed line by line.

run = StoredRun.create("R.zarr", header)                   the client; holds the lock
receipt = write_block(run.target, start, columns)    any worker; needs no lock
run.commit(receipt)                                  the client alone: from here on the block is part of the run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from cgcnn.errors import UserError
from screening.store import header as headers
from screening.store import lock, manifest
from screening.store.blocks import RunReference, load_shard
from screening.store.header import ROOT, VERSIONS
from screening.store.manifest import BlockReceipt, Tally
from screening.store.place import Place, open_place
from screening.store.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from screening.store.header import Header
    from screening.store.shard import Array, Column


@dataclass(frozen=True)
class Rows:
    """Consecutive rows [start, stop) of some columns."""

    start: int
    stop: int
    columns: Mapping[str, Array]


class Columns(Mapping[str, "Array"]):
    """Columns of a block, each read and proven when it is first asked for.

    Looking a column up raises UserError at a damaged or missing shard.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], Array]) -> None:
        self._names, self._read = names, read
        self._there: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        """Return a column."""
        if name not in self._names:
            raise KeyError(name)
        if name not in self._there:
            self._there[name] = self._read(name)
        return self._there[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        """Check whether there is such a column; it is not read."""
        return name in self._names


class StoredRun:
    """A run as a client sees it. Made by `create`, `resume` or, to read only, `open`; a context manager."""

    def __init__(self, place: Place, held: lock.Lock | None = None, part: int = 0) -> None:
        self.place = place
        self._lock, self._part = held, part
        self.header, root = headers.load(place)
        self._documents = headers.array_documents(root)
        self._tally = Tally(self.header)
        for receipt in manifest.read(place, self.header):
            if not self._has(receipt):
                self._tally.add(receipt)

    @classmethod
    def create(cls, url: str, header: Header, *, part: int = 0, records: Records | None = None) -> Self:
        """Make a new run and take its lock. Of records, the header has the digest.

        Raises:
            UserError: If there is anything at the URL already, or it cannot be written. Nothing is left behind then.
        """
        place = open_place(url)
        cls.refuse_existing(url, header)
        files = headers.files(header)
        place.create(files, last=ROOT)
        run = cls.resume(url, header, part=part, records=records)
        if run.target.digest != headers.digest_of(files[ROOT]):
            run.close()
            raise UserError(f"{url}: another process made a run here just now. Pass `resume` or another `out`.")
        return run

    @staticmethod
    def refuse_existing(url: str, header: Header) -> None:
        """Refuse a place where there is anything already, before a new run is made there.

        Raises:
            UserError: There is, or the place cannot be read.
        """
        place = open_place(url)
        _refuse_existing(place, headers.files(header))

    @classmethod
    def resume(
        cls, url: str, header: Header, *, part: int = 0, records: Records | None = None, any_versions: bool = False
    ) -> Self:
        """Take the lock of an existing run and go on with it. Its own block size counts, not the header's.

        Records that the run lacks, or that are damaged in it, are written into it.

        Args:
            url: Of the run.
            header: Of the run as it is asked for.
            part: Of the manifest, to commit to.
            records: What the run was given.
            any_versions: Whether to go on with other packages than the run was begun with. The results then differ in
                their last bits from those of either; the manifest notes which blocks were done with what.

        Raises:
            UserError: If it is another run, naming each difference; if it is in use, naming the holder; if it is
                damaged, naming where.
        """
        place = open_place(url)
        existing, _ = headers.load(place)
        if differences := headers.differences(existing, header, but=VERSIONS if any_versions else ()):
            raise UserError(f"{url}: cannot resume, {'; '.join(differences)}. {_remedy(existing, header)}")
        held = lock.acquire(place, part)
        try:
            manifest.mend_tail(place, part)
            if records is not None:
                records.put(place)
            return cls(place, held, part)
        except BaseException:
            held.release()
            raise

    @classmethod
    def open(cls, url: str) -> Self:
        """Open a run to read; also while another process writes it.

        Raises:
            UserError: Where there is no run, or its header or manifest is damaged.
        """
        return cls(open_place(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back, if this is the committing client."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def target(self) -> RunReference:
        """What workers are sent."""
        return RunReference(self.place.url, self.header.digest)

    @property
    def records(self) -> Records | None:
        """What the run was given, if it was given records.

        Raises:
            UserError: Their index is missing or damaged.
        """
        return Records.at(self.place, self.header.records) if self.header.records else None

    @property
    def n_committed(self) -> int:
        """Number of committed blocks."""
        return self._tally.blocks

    @property
    def device(self) -> str:
        """The kind of device on which the committed blocks were predicted, such as "cpu"; empty before the first.

        Of a run that several clients began on different devices at the same time, all of them.
        """
        return " and ".join(sorted(self._tally.devices))

    def tell(self, rate: float) -> None:
        """Let others know how many candidates a second this client does; see `screening.store.lock.rate`."""
        if self._lock is not None:
            self._lock.rate = rate

    def commit(self, *receipts: BlockReceipt) -> None:
        """Make written blocks part of the run, durably: one line for each and one sync for all.

        A block that is there already with the same content is passed over.

        Raises:
            UserError: If the lock was lost, the manifest cannot be written, a block is there with other content, or a
                block was predicted on another kind of device than those before it.
        """
        if self._lock is None:
            raise ValueError("only StoredRun.create and StoredRun.resume give a run that commits")
        if not self._lock.held():
            raise UserError(f"{self.place.url}: another process took this run over. Let it finish, or stop it first.")
        for receipt in receipts:
            manifest.check(receipt, self.header)
        self._check_devices(receipts)
        new = [receipt for receipt in receipts if not self._has(receipt)]
        if new:
            self.place.append(manifest.log_key(self._part), b"".join(map(manifest.to_line, new)))
        for receipt in new:
            self._tally.add(receipt)

    def _check_devices(self, receipts: Sequence[BlockReceipt]) -> None:
        """Keep a run on one kind of device: each rounds in its own way."""
        known = set(self._tally.devices)
        for receipt in receipts:
            if receipt.device and known and receipt.device not in known:
                raise UserError(
                    f"{self.place.url}: {receipt.worker} predicted block {receipt.block} on {receipt.device}, others "
                    f"were predicted on {' and '.join(sorted(known))}. Go on with `resume` and workers of one kind."
                )
            known |= {receipt.device} - {""}

    def missing_blocks(self) -> Iterator[int]:
        """List blocks that are yet to be done, in order; `header.bounds` gives their rows."""
        return self._tally.missing()

    def ledger(self) -> dict[int, int]:
        """Count rows by status; 0 is never written. They add up to the size of the space."""
        return self._tally.ledger()

    def failures(self) -> Iterator[tuple[int, int, str]]:
        """List ranges [first, last + 1) of rows that failed, each with its reason, by block in order of commitment."""
        told: set[int] = set()
        for receipt in manifest.read(self.place, self.header):
            if receipt.block not in told:
                told.add(receipt.block)
                yield from ((*rows, reason) for reason, ranges in receipt.failures.items() for rows in ranges)

    def blocks(self, names: Sequence[str], later: Sequence[Column] = ()) -> Iterator[Rows]:
        """Iterate over the committed blocks in order, with the columns named, which are read when they are asked for.

        Args:
            names: Of the columns.
            later: Those that runs of an earlier version do not have; there they read as unwritten rows do.

        Raises:
            UserError: There is no such column.
        """
        absent = {column.name: column for column in later} if later else {}
        for column in self.header.columns:
            absent.pop(column.name, None)
        for name in names:
            if name not in absent:
                self.header.column(name)
        for block in range(self.header.n_blocks):
            if block in self._tally:
                start, stop = self.header.bounds(block)
                yield Rows(start, stop, Columns(names, partial(self._read, block=block, absent=absent)))

    def _read(self, name: str, *, block: int, absent: Mapping[str, Column]) -> Array:
        if name not in absent:
            return self._load(name, block=block)
        start, stop = self.header.bounds(block)
        column = absent[name]
        return np.full((stop - start, *column.shape), column.fill, dtype=column.dtype)

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, Array]:
        """Read rows [start, stop) of the columns named.

        Raises:
            UserError: If a row is not committed, a shard is damaged, or a column is unknown.
        """
        if not 0 <= start < stop <= self.header.rows:
            raise UserError(f"rows {start} to {stop}: this run has rows 0 to {self.header.rows}.")
        size = self.header.block_rows
        wanted = range(start // size, (stop - 1) // size + 1)
        if lacking := [block for block in wanted if block not in self._tally]:
            raise UserError(f"{self.place.url}: block {lacking[0]} is not done yet. Go on with `resume`.")
        first = wanted[0] * size
        whole = {name: np.concatenate([self._load(name, block=block) for block in wanted]) for name in names}
        return {name: values[start - first : stop - first] for name, values in whole.items()}

    def _load(self, name: str, *, block: int) -> Array:
        try:
            expected = self._tally.checksum(name, block)
            return load_shard(self.place, self.header, self._documents, name, block=block, expected=expected)
        except ValueError as error:
            raise UserError(
                f"{self.place.url}: block {block} is damaged ({error}). "
                "Mend it with screen verify --repair, then go on with `resume`."
            ) from error

    def _has(self, receipt: BlockReceipt) -> bool:
        try:
            return self._tally.has(receipt)
        except ValueError as error:
            raise UserError(f"{self.place.url}: {error}. Mend it with screen verify --repair.") from error


def _remedy(existing: Header, asked: Header) -> str:
    if headers.differences(existing, asked, but=VERSIONS):
        return "Pass another `out`."
    return (
        "Go on with the versions that it was begun with; `accept_versions` goes on with other versions, and the last "
        "digits then differ from block to block."
    )


def _refuse_existing(place: Place, files: Iterable[str]) -> None:
    if headers.is_run(place):
        run = StoredRun.open(place.url)
        raise UserError(
            f"{place.url} exists and holds a run ({run.n_committed} of {run.header.n_blocks} blocks). "
            "Pass `resume` to go on or another `out`."
        )
    if place.occupied(files):
        raise UserError(f"{place.url} exists and is not a run. Pass another `out`.")
