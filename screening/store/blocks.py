"""One block of a run: written whole by a worker that needs no lock, read back column by column."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.errors import OddFileError, UserError
from screening.status import Status
from screening.store import header as headers
from screening.store.header import COPY, ROOT, Header, decisive
from screening.store.manifest import BlockReceipt
from screening.store.place import Place, open_place
from screening.store.records import Records
from screening.store.shard import Array, checksum, column_checksum, decode, encode, largest_shard, shard_name

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class RunReference:
    """All that a worker needs to write blocks: small and picklable.

    Attributes:
        url: Of the run.
        digest: Of the run's header: a late worker must not write into another run that took its place.
    """

    url: str
    digest: str


def write_block(  # noqa: PLR0913  # the last four only describe the block
    target: RunReference,
    start: int,
    columns: Mapping[str, Array],
    *,
    failures: Mapping[int, str] | None = None,
    seconds: float = 0.0,
    worker: str = "",
    device: str = "",
) -> BlockReceipt:
    """Write one whole block durably, as one shard of each column. Idempotent; two at once do no harm.

    Args:
        target: The run.
        start: First row of the block.
        columns: Every column of the run, each with the block's rows; types must match exactly.
        failures: Reason by row, for exactly the rows whose status is failed.
        seconds: Time that the block took, for the manifest.
        worker: Who wrote it, for the manifest; this host and process if empty.
        device: Kind of device that predicted it, such as "cpu"; empty if none did.

    Raises:
        UserError: If the run is gone or another one took its place, or the disk refuses.
        ValueError: If the columns are not those of the block.
    """
    place, header, documents = _opened(target)
    root = place.read(ROOT, headers.LARGEST) or place.read(COPY, headers.LARGEST)
    if root is None or target.digest.encode() not in root:
        raise UserError(f"{target.url}: the run that this block belongs to is gone, or its header is damaged.")
    block, stop = start // header.block_rows, header.bounds(start // header.block_rows)[1]
    _check_columns(header, start, columns)
    place.write(
        {
            f"{column.name}/{shard_name(column, block)}": encode(documents[column.name], columns[column.name])
            for column in header.columns
        }
    )
    codes, numbers = np.unique(columns["status"], return_counts=True)
    return BlockReceipt(
        block=block,
        start=start,
        stop=stop,
        checksum=checksum(header.columns, columns),
        rows=stop - start,
        seconds=round(seconds, 3),
        worker=worker or f"{socket.gethostname()}:{os.getpid()}",
        counts={int(code): int(number) for code, number in zip(codes, numbers, strict=True)},
        failures=_reasons(start, columns["status"], failures or {}),
        device=device,
        run=header.digest,
        versions={name: mine for name, mine in decisive().items() if header.versions.get(name, mine) != mine},
    )


def load_shard(  # noqa: PLR0913  # a run, and which part of it
    place: Place, header: Header, documents: Mapping[str, Any], name: str, *, block: int, expected: str
) -> Array:
    """Load one column of one block, proven to be what was committed.

    A shard has checksums of its own, but these do not say whose it is: one that was moved from another block or run
    is sound in itself.

    Args:
        place: Of the run.
        header: Of the run.
        documents: Zarr metadata of each column.
        name: Of the column.
        block: Number of the block.
        expected: Checksum of the column in the block's line of the manifest.

    Raises:
        ValueError: If its shard is missing, damaged or not the one that was committed. (Zarr itself would read a
            missing shard as fill values.)
        UserError: If there is no such column.
    """
    column = header.column(name)
    shard = shard_name(column, block)
    try:
        data = place.read(f"{name}/{shard}", largest_shard(column, header.block_rows))
    except OddFileError as error:
        raise ValueError(str(error)) from error
    if data is None:
        raise ValueError(f"{name}/{shard} is missing")
    try:
        values = decode(documents[name], shard, data, *header.bounds(block))
    except ValueError as error:
        raise ValueError(f"{name}/{shard}: {error}") from error
    if column_checksum(column, values) != expected:
        raise ValueError(f"{name}/{shard}: its content is not what was committed")
    return values


@lru_cache(maxsize=8)
def _opened(target: RunReference) -> tuple[Place, Header, Mapping[str, Any]]:
    place = open_place(target.url)
    header, root = headers.load(place)
    return place, header, headers.array_documents(root)


def _check_columns(header: Header, start: int, columns: Mapping[str, Array]) -> None:
    block, rest = divmod(start, header.block_rows)
    if rest or not 0 <= block < header.n_blocks:
        raise ValueError(f"row {start} is not the first of a block of {header.block_rows} rows")
    rows = header.bounds(block)[1] - start
    expected = {c.name: ((rows, *c.shape), np.dtype(c.dtype)) for c in header.columns}
    found = {name: (array.shape, array.dtype) for name, array in columns.items()}
    if expected != found:
        wrong = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise ValueError(f"columns {', '.join(wrong)}: expected {expected}, got {found}")
    if (columns["status"] == Status.UNWRITTEN).any():
        raise ValueError("status 0 means never written; every row of a block needs another")


def _reasons(start: int, status: Array, failures: Mapping[int, str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return ranges of rows by reason."""
    failed = [start + int(i) for i in np.flatnonzero(status == Status.FAILED)]
    if failed != sorted(failures):
        raise ValueError("each row whose status is failed needs a reason, and no other row")
    ranges: dict[str, list[tuple[int, int]]] = {}
    for row in failed:
        found = ranges.setdefault(failures[row], [])
        if found and found[-1][1] == row:
            found[-1] = (found[-1][0], row + 1)
        else:
            found.append((row, row + 1))
    return {reason: tuple(pairs) for reason, pairs in ranges.items()}


def read_header(target: RunReference) -> Header:
    """Read the header of a run, as its workers need it, once a process.

    Raises:
        UserError: Where there is no run, or its header is damaged.
    """
    return _opened(target)[1]


def read_records(target: RunReference) -> Records | None:
    """Read the records of a run, as its workers need them; None for a run of none.

    Raises:
        UserError: Where there is no run, or its header or the index of its records is damaged.
    """
    place, header, _ = _opened(target)
    return Records.at(place, header.records) if header.records else None


def load_header(url: str) -> Header:
    """Read the header of the run at a URL.

    Raises:
        UserError: Where there is no run, or its header is damaged.
    """
    return headers.load(open_place(url))[0]


def load_records(url: str) -> Records | None:
    """Read the records of the run at a URL as `read_records` does."""
    place = open_place(url)
    header = headers.load(place)[0]
    return Records.at(place, header.records) if header.records else None


def exists(url: str) -> bool:
    """Check whether there is a run at a URL, however damaged."""
    return headers.is_run(open_place(url))
