"""Files as text, decompressed where they are compressed, in bounded memory; the same for every format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
from typing import TYPE_CHECKING, Any, cast

from cgcnn.errors import UserError
from cgcnn.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
_MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\x00": ".xz", b"BZh": ".bz2"}  # how these begin
CRYSTAL = 64 * 2**20
"""Characters of one crystal: of a CIF or a POSCAR, or of a line of records."""
WHOLE = 4 * 2**30
"""Bytes of a JSON file, which is read as a whole."""
RATIO = 200  # data of crystals compress 5 to 50 times
PIECE = 2**24
"""Bytes that are read at once."""
_FREE = 64 * 2**20  # bytes that any file may decompress to


class _Guarded(io.RawIOBase):
    """A decompressed stream that ends with an error where a file of its size cannot honestly hold so much."""

    def __init__(self, path: Path, *, by_content: bool) -> None:
        super().__init__()
        self.path, self.done = path, 0
        self.packed = open_regular(path)
        self.limit = _FREE + RATIO * os.fstat(self.packed.fileno()).st_size
        begins = self.packed.peek(6) if by_content else b""
        found = next((end for magic, end in _MAGIC.items() if begins.startswith(magic)), "")
        unpack = _OPEN.get(found if by_content else path.suffix.lower())
        self.inner = cast("Any", self.packed) if unpack is None else unpack(self.packed, "rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast("int", self.inner.readinto1(buffer))  # what there is before an error
        self.done += count
        if self.done > self.limit:
            raise UserError(f"{self.path}: decompresses to more than {RATIO} times its size; no data of crystals do")
        return count

    def close(self) -> None:
        self.inner.close()
        self.packed.close()
        super().close()


def uncompressed_name(path: Path) -> str:
    """The file's name without ``.gz``, ``.xz`` or ``.bz2``."""
    name = path.name
    for suffix in _OPEN:
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def decompressed(path: Path, *, by_content: bool = False) -> io.BufferedReader:
    """The bytes of a file, decompressed as they are read: by its suffix, or by how it begins."""
    return io.BufferedReader(_Guarded(path, by_content=by_content), 2**17)


def opened(path: Path, errors: str, encoding: str = "utf-8") -> io.TextIOWrapper:
    """The text of a file, line ends as they are; `errors` is what becomes of bytes that are no text."""
    return io.TextIOWrapper(decompressed(path), encoding=encoding, errors=errors, newline="")


def lines_of(stream: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """The lines of a text, with their ends.

    Raises:
        UserError: A line is longer than any crystal.
    """
    while line := stream.readline(CRYSTAL + 1):
        if len(line) > CRYSTAL:
            raise UserError(f"{path}: a line of more than {CRYSTAL >> 20} million characters; expected crystals")
        yield line


def read_text(path: Path) -> str:
    """Text of one crystal; authors' names in an old encoding are no reason to refuse it.

    Raises:
        UserError: It is longer than any crystal.
    """
    with opened(path, errors="replace") as stream:
        text = stream.read(CRYSTAL + 1)
    if len(text) > CRYSTAL:
        raise UserError(f"{path}: more than {CRYSTAL >> 20} million characters; expected one crystal")
    return text


def read_bytes(path: Path) -> bytes:
    """All bytes of a file, decompressed.

    Raises:
        UserError: They are too many to be read as a whole.
    """
    with decompressed(path) as stream:
        parts, size = list[bytes](), 0
        while part := stream.read(PIECE):  # asked for at once, so many bytes would be reserved whatever there is
            parts.append(part)
            size += len(part)
            if size > WHOLE:
                raise UserError(f"{path}: more than {WHOLE >> 30} GiB; give JSON Lines, which are read line by line")
    return b"".join(parts)
