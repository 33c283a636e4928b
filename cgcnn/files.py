"""Files: written whole or not at all, read in bounded memory, CSV tables, and the package's TOML files."""

from __future__ import annotations

import csv
import errno
import os
import re
import secrets
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import BufferedReader

_DESCRIPTOR = re.compile(r"/dev/(?:fd/([0-9]{1,9})|(stdout)|(stderr))|/proc/self/fd/([0-9]{1,9})")
DIGITS = 18
"""Of a whole number that can be meant."""
STDOUT = Path("/dev/stdout")
"""Standard output, also if it is redirected."""
ENDS = (".safetensors", ".json", ".csv", ".png", ".svg")
"""Suffixes of the files that are written under one name."""
SMALL = 16 * 2**20
"""Bytes that recipes, cards, profiles and the like may have."""
PIECE = 2**20
"""Bytes that are read at once where the size is not known."""
LONGEST_LINE = 64 * 2**20
"""Bytes of a line of a log: many times what a block whose rows all fail for reasons of their own needs."""
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet takes text with these for a formula; a tab is escaped anyway


def write_whole(path: str | Path, content: bytes | str | Iterable[bytes | str]) -> None:
    """Write a file so that it holds either what it held before or all of the new content, whatever happens.

    A symbolic link stays, and its target is written. Anything but a regular file, such as ``/dev/null`` or a FIFO, is
    written into and never replaced. Text is UTF-8.

    Args:
        path: The file, in an existing folder.
        content: All of the content, or its pieces in order.

    Raises:
        UserError: The file cannot be written.
        BrokenPipeError: It is a stream of this process, and nobody reads it any more.
    """
    pieces = [content] if isinstance(content, (bytes, str)) else content
    try:
        with _opened(Path(path)) as file:
            for piece in pieces:
                file.write(piece if isinstance(piece, bytes) else piece.encode("utf-8", errors="backslashreplace"))
    except BrokenPipeError:
        if is_stream(Path(path)):  # whoever reads has had enough, which is no error
            raise
        raise UserError(f"{path}: nobody reads it any more; choose another place") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise UserError(f"{path}: cannot be written ({reason}); choose another place") from None


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open the file to write into: the target itself if it cannot be replaced, otherwise one that will replace it."""
    known = _DESCRIPTOR.fullmatch(str(path))
    if known:  # opening it again would overwrite what a redirection has collected
        number, out, err, other = known.groups()
        with os.fdopen(os.dup(1 if out else 2 if err else int(number or other)), "wb") as file:
            yield file
        return
    mode = path.stat().st_mode if path.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:  # refuses a folder
            yield file
        return
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.chmod(partial, stat.S_IMODE(mode))  # noqa: PTH101  # beside os.open
            yield file
            file.flush()
            os.fsync(descriptor)  # before the rename, or a crash could leave an empty file under the new name
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file for another program to write, which then becomes `path`: whole, or not at all.

    What is no regular file, such as stdout or a FIFO, is written into.

    Raises:
        UserError: The file cannot be written.
    """
    target = Path(os.path.realpath(path))
    in_place = is_stream(path) or (path.exists() and not path.is_file())
    partial = (Path(tempfile.gettempdir()) if in_place else target.parent) / f".{secrets.token_hex(8)}.partial"
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if in_place else 0o666))
        yield partial
        if in_place:
            with partial.open("rb") as file:
                write_whole(path, iter(lambda: file.read(1 << 20), b""))
            return
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def open_regular(path: str | Path, limit: int | None = None) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    A FIFO or a socket would block for ever, a device may never end.

    Args:
        path: The file.
        limit: Bytes that it may have at most.

    Raises:
        OSError: It cannot be opened, is not a regular file, or is too large.
    """
    _check_regular(path, os.stat(path), limit)  # noqa: PTH116  # before it is opened: a device may notice that
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _check_regular(path, os.fstat(descriptor), limit)  # it may be another one by now
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, limit: int = SMALL) -> bytes:
    """Read a regular file whole.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path, limit) as file:
        parts = [file.read(os.fstat(file.fileno()).st_size + 1)]  # asked for, the limit would be reserved as memory
        while len(parts[-1]) and sum(map(len, parts)) <= limit:  # it grew, or its file system does not know its size
            parts.append(file.read(PIECE))
    if sum(map(len, parts)) > limit:
        raise too_large(path, limit)
    return b"".join(parts)


def read_text(path: str | Path, limit: int = SMALL) -> str:
    """Read a regular file of UTF-8 text.

    Raises:
        OSError: As `open_regular`.
        ValueError: It is not UTF-8.
    """
    return read_regular(path, limit).decode("utf-8")


def _check_regular(path: str | Path, found: os.stat_result, limit: int | None) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if limit is not None and found.st_size > limit:
        raise too_large(path, limit)


def too_large(path: str | Path, limit: int) -> OSError:
    """Make the error for a file that is larger than it can honestly be."""
    return OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))


def whole_number(text: str) -> int | None:
    """Read a whole number of up to 18 digits from 0 to 9; None if the text is none.

    `str.isdigit` also holds for ``²`` and for 5,000 digits, of which `int` makes nothing.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else None


def with_end(path: Path, end: str) -> Path:
    """Replace one of our suffixes by this one, or add it; the dot in a name such as ``gap-0.5`` begins no suffix."""
    known = next((known for known in ENDS if path.name.endswith(known) and path.name != known), "")
    return path.with_name(f"{path.name.removesuffix(known)}{end}")


def is_stream(path: Path) -> bool:
    """Return whether a path is an open file of this process, such as ``/dev/stdout``."""
    return _DESCRIPTOR.fullmatch(str(path)) is not None


def failures_path(results: Path) -> Path | None:
    """Return where the reasons of failures go: ``RESULTS.failures.csv``, or None if the results are no regular file."""
    if is_stream(results) or (results.exists() and not results.is_file()):
        return None
    return results.with_name(f"{results.stem}.failures.csv")


def write_failures(results: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path | None:
    """Write the reasons of failures to ``RESULTS.failures.csv``; without failures, remove an older file.

    Returns:
        The file; None without rows, or if the results are no regular file.

    Raises:
        UserError: The file cannot be written.
    """
    path = failures_path(results)
    if path is None:
        return None
    if not rows:
        path.unlink(missing_ok=True)
        return None
    write_csv(path, columns, rows)
    return path


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a header and rows, each cell as `csv_cell`.

    Raises:
        UserError: The file cannot be written.
    """
    write_whole(path, map(csv_line, _chained(header, rows)))


def csv_line(cells: Iterable[object]) -> str:
    """Format a line of a CSV table, each cell as `csv_cell`."""
    return str(_WRITER.writerow([csv_cell(cell) for cell in cells]))


class _Lines:
    """A file for a CSV writer that returns the line instead of keeping it."""

    @staticmethod
    def write(line: str) -> str:
        return line


_WRITER = csv.writer(_Lines(), lineterminator="\n")


def _chained(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[Sequence[object]]:
    yield header
    yield from rows


def csv_cell(value: object) -> str:
    """Format a cell as `printable` text, with an apostrophe in front if a spreadsheet would take it for a formula."""
    text = "" if value is None else printable(str(value))
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def printable(text: str) -> str:
    r"""Escape control characters, line ends and bytes that were no UTF-8, such as ``\x1b``."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # as os.fsdecode puts bytes into text
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


def shipped_files(installed: Path, checkout: str) -> dict[str, Path]:
    """Find TOML files that are shipped together: name -> file.

    Args:
        installed: Their folder in an installed package.
        checkout: Their folder in a checkout, relative to its root.
    """
    places = (installed, Path(__file__).parent.parent / checkout)
    folder = next((place for place in places if place.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipes() -> dict[str, Path]:
    """Find the shipped recipes of trainings and screens: name -> TOML file."""
    return shipped_files(Path(__file__).parent / "recipes", "recipes")


def find_recipe(name_or_path: str) -> Path:
    """Return the file of a shipped recipe, or the path itself if it is a file.

    Raises:
        UserError: There is no such recipe or file.
    """
    known = recipes()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such recipe; pass a TOML file or one of: {', '.join(known)}.")
    return path
