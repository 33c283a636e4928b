"""Columns, and one block of them as Zarr shards: plain functions from arrays to bytes and back.

Zarr itself makes the documents, and tests hold the bytes to what Zarr writes and reads; where and how safely they are
put is the business of `screening.store.place`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zarr.core.buffer import Buffer

CHUNK_ROWS = 65_536  # rows of an inner chunk at most: what a reader must decode to see one row
CHUNK_ROWS_LEAST = 4_096
ZSTD_LEVEL = 1  # measured: half the time of a shuffled Blosc for 3 % more bytes
DIMENSION = "candidate"
ZSTD_MAGIC = bytes.fromhex("28b52ffd")
LARGEST_NUMBER = 8  # bytes
LARGEST_ROW = 1_000  # numbers in a row of a column
NOWHERE = 2**64 - 1  # where an inner chunk lies that was not written
CHECKSUM_DIGITS = 16  # hex digits of the checksum of one column of a block

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One array of the run.

    Attributes:
        name: Of the array in the Zarr group.
        dtype: As numpy names it: "uint8", "float32", "bool" …
        unit: "eV/atom", "Å" …; empty for none.
        description: One line for a reader of the file.
        fill: What unwritten rows read as (NaN for floats; 0 for `status`: never written).
        shape: Shape of one row: () for a number, (5,) for five sites.
        axes: Names of the dimensions of one row.
    """

    name: str
    dtype: str
    unit: str = ""
    description: str = ""
    fill: float | bool = 0
    shape: tuple[int, ...] = ()
    axes: tuple[str, ...] = ()


def chunk_rows(block_rows: int) -> int:
    """Choose the rows of an inner chunk: the largest sensible divisor of the block up to `CHUNK_ROWS`."""
    divisors = (rows for rows in range(CHUNK_ROWS, CHUNK_ROWS_LEAST - 1, -1) if block_rows % rows == 0)
    return block_rows if block_rows <= CHUNK_ROWS else next(divisors, block_rows)


def array_document(column: Column, rows: int, block_rows: int) -> dict[str, Any]:
    """Make the `zarr.json` of a column: one shard a block, zstd and crc32c on inner chunks, crc32c on the index."""
    import zarr.codecs

    files: dict[str, Buffer] = {}
    attributes: dict[str, Any] = {"long_name": column.description} | ({"units": column.unit} if column.unit else {})
    zarr.create_array(
        zarr.storage.MemoryStore(files),
        shape=(rows, *column.shape),
        shards=(block_rows, *column.shape),
        chunks=(chunk_rows(block_rows), *column.shape),
        dtype=column.dtype,
        fill_value=np.dtype(column.dtype).type(column.fill),
        compressors=[zarr.codecs.ZstdCodec(level=ZSTD_LEVEL), zarr.codecs.Crc32cCodec()],
        dimension_names=[DIMENSION, *column.axes],
        chunk_key_encoding={"name": "default", "separator": "."},  # one flat directory a column
        attributes=attributes,
    )
    document: dict[str, Any] = json.loads(files["zarr.json"].to_bytes())
    return document


def check_column(column: Column) -> None:
    """Raise ValueError unless a column, as read, is one that runs have: readers allocate what it declares."""
    kind = np.dtype(column.dtype)
    if kind.kind not in "biuf" or kind.itemsize > LARGEST_NUMBER:
        raise ValueError(f"column {column.name}: {column.dtype} is not a type of numbers")
    if not all(type(length) is int and length > 0 for length in column.shape) or math.prod(column.shape) > LARGEST_ROW:
        raise ValueError(f"column {column.name}: rows of shape {column.shape}")


def check_document(document: Mapping[str, Any], column: Column, rows: int, block_rows: int) -> None:
    """Raise ValueError unless the `zarr.json` of a column, as read, has the grid and type that its run has."""
    inner = document["codecs"][0]["configuration"]["chunk_shape"]
    found = (document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"], inner, document["data_type"])
    shape = list(column.shape)
    if found != ([rows, *shape], [block_rows, *shape], [chunk_rows(block_rows), *shape], column.dtype):
        raise ValueError(f"the array of column {column.name} is not as its column says")


def largest_shard(column: Column, block_rows: int) -> int:
    """Return how many bytes a shard of a block has at most: zstd adds little to what it cannot compress."""
    chunk = chunk_rows(block_rows)
    content = chunk * math.prod(column.shape) * np.dtype(column.dtype).itemsize
    return (block_rows // chunk) * (content + content // 128 + 1024) + 1024


def shard_name(column: Column, block: int) -> str:
    """Name a block's shard in its column's directory: `c.17`, or `c.17.0` for two dimensions."""
    return ".".join(["c", str(block), *("0" for _ in column.shape)])


def encode(document: Mapping[str, Any], values: Array) -> bytes:
    """Encode a block's values as a shard, as Zarr's `sharding_indexed` has it, in a quarter of the time.

    Inner chunks one after the other, each compressed and with its CRC-32C; then where each lies, with a CRC-32C too.
    """
    from google_crc32c import value as crc32c
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    outer = document["chunk_grid"]["configuration"]["chunk_shape"][0]
    rows = document["codecs"][0]["configuration"]["chunk_shape"][0]
    plain = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    compress, parts, end = Zstd(level=ZSTD_LEVEL).encode, list[bytes](), 0
    places = np.full((outer // rows, 2), NOWHERE, dtype="<u8")  # offset and bytes of each
    for number, first in enumerate(range(0, len(plain), rows)):
        chunk = plain[first : first + rows]
        if len(chunk) < rows:  # the last one of a run; what is beyond its end is never read
            chunk = np.concatenate([chunk, np.zeros((rows - len(chunk), *chunk.shape[1:]), dtype=chunk.dtype)])
        content = bytes(compress(chunk.reshape(-1).view(np.uint8)))
        parts += [content, crc32c(content).to_bytes(4, "little")]
        places[number] = end, len(content) + 4
        end += len(content) + 4
    index = places.tobytes()
    return b"".join([*parts, index, crc32c(index).to_bytes(4, "little")])


def decode(document: Mapping[str, Any], name: str, shard: bytes, start: int, stop: int) -> Array:
    """Read rows [start, stop) of the shard called `name`, as Zarr does, in a quarter of the time.

    Raises:
        ValueError: If a checksum does not match, or the shard is cut short.
    """
    from google_crc32c import value as crc32c  # comes with Zarr
    from numcodecs.zstd import Zstd  # likewise

    outer, *shape = document["chunk_grid"]["configuration"]["chunk_shape"]
    rows = document["codecs"][0]["configuration"]["chunk_shape"][0]
    kind = np.dtype(document["data_type"]).newbyteorder("<")
    size = 16 * (outer // rows)

    def proven(data: bytes, what: str) -> bytes:
        if len(data) < 4 or crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise ValueError(f"checksum of {what} of {name} does not match")
        return data[:-4]

    places = np.frombuffer(proven(shard[-size - 4 :], "the index"), dtype="<u8").reshape(-1, 2)
    plain = np.broadcast_to(np.zeros((), dtype=kind), (rows, *shape))  # what a chunk is, without its memory
    first = start // outer * outer  # row of the array where the shard begins
    parts = []
    for number in range((start - first) // rows, -(-(stop - first) // rows)):
        at, length = places[number].tolist()
        packed = proven(shard[at : at + length], f"chunk {number}")
        if _declared(packed) != plain.size * kind.itemsize:
            raise ValueError(f"chunk {number} of {name} has not the size of a chunk")
        parts.append(np.frombuffer(Zstd().decode(packed), dtype=kind).reshape(plain.shape))
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    skipped = (start - first) // rows * rows
    return whole[start - first - skipped : stop - first - skipped]


def _declared(packed: bytes) -> int:
    """Return how many bytes a frame of zstd says that it holds (RFC 8878, 3.1.1.1); -1 where it says nothing.

    The decoder allocates as much before it looks at the content.
    """
    if len(packed) < 5 or packed[:4] != ZSTD_MAGIC:
        raise ValueError("a chunk is not zstd")
    flags = packed[4]
    single, identified = flags >> 5 & 1, (0, 1, 2, 4)[flags & 3]
    size = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + identified
    declared = int.from_bytes(packed[at : at + size], "little") + (256 if size == 2 else 0)
    return declared if size else -1


def checksum(columns: Sequence[Column], values: Mapping[str, Array]) -> str:
    """Compute the checksums of a block's columns in order, one behind the other, so that each can be proven alone."""
    return "".join(column_checksum(column, values[column.name]) for column in columns)


def column_checksum(column: Column, values: Array) -> str:
    """BLAKE2b (64 bits: 16 hex digits) of decoded content: name, type, shape and little-endian bytes."""
    array = np.ascontiguousarray(values, dtype=np.dtype(column.dtype).newbyteorder("<"))
    digest = hashlib.blake2b(f"{column.name}:{column.dtype}:{array.shape};".encode(), digest_size=CHECKSUM_DIGITS // 2)
    digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
