"""Where a run lies: a local directory or an object store, behind one small interface.

What the run store asks of a place, and nothing more: small whole files that are written at once or not at all, a
log that grows by whole lines, listing and deleting. Keys are relative paths with `/`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from cgcnn.errors import OddFileError, UserError
from cgcnn.files import LONGEST_LINE, SMALL, open_regular, read_regular

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping


BATCH = 256  # objects of a log that are fetched at once
LONGEST_LOG = 2**30  # bytes of one of them: `replace_log` makes one of all


class ObjectPlace:
    """A place in an object store."""

    def __init__(self, url: str, fs: Any, root: str) -> None:
        self.url = url
        self._fs = fs
        self._root = root.rstrip("/")
        self._writer = uuid.uuid4().hex[:12]
        self._written: dict[str, int] = {}

    @classmethod
    def from_url(cls, url: str) -> ObjectPlace:
        """Open a place by its URL; credentials and endpoints come from the environment or fsspec's own configuration.

        Raises:
            UserError: For an unknown protocol or one whose package is not installed.
        """
        from fsspec import get_filesystem_class  # type: ignore[import-untyped]
        from fsspec.archive import AbstractArchiveFileSystem  # type: ignore[import-untyped]
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        with _explained(url):
            if issubclass(get_filesystem_class(re.split("://|::", url)[0]), AbstractArchiveFileSystem):
                raise UserError(f"{url}: an archive, in which no run can be kept. Unpack it, and pass the directory.")
            fs, root = url_to_fs(url, use_listings_cache=False)  # a lock must not be judged by an old listing
        return cls(url, fs, root)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def read(self, key: str, limit: int = SMALL) -> bytes | None:
        """See `Place`."""
        with _explained(self.url):
            try:
                content = bytes(self._fs.cat_file(self._path(key), start=0, end=limit + 1))
            except FileNotFoundError:
                return None
            except OSError:
                if self._fs.size(self._path(key)):
                    raise
                content = b""  # S3 has no range of an empty object
        if len(content) > limit:
            raise OddFileError(f"{self.url}: {key} is larger than {limit:,} bytes.")
        return content

    def write(self, files: Mapping[str, bytes]) -> None:
        """See `Place`."""
        with _explained(self.url):
            self._fs.pipe({self._path(key): data for key, data in files.items()})

    def create(self, files: Mapping[str, bytes], last: str) -> None:
        """See `Place`."""
        try:
            self.write({key: data for key, data in files.items() if key != last})
            self.write({last: files[last]})
        except UserError:
            for key in files:
                self.delete(key)
            raise

    def occupied(self, files: Iterable[str]) -> bool:
        """See `Place`."""
        expected = set(files)
        return any(key not in expected for key in self.walk())

    def exists(self, key: str) -> bool:
        """See `Place`."""
        with _explained(self.url):
            return bool(self._fs.exists(self._path(key)))

    def delete(self, key: str) -> None:
        """See `Place`."""
        with _explained(self.url):
            try:
                self._fs.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def names(self, directory: str) -> Iterator[str]:
        """See `Place`."""
        yield from (name for name, _ in self._listed(directory))

    def _listed(self, directory: str) -> Iterator[tuple[str, int]]:
        """Return name and size of what lies directly in a directory."""
        with _explained(self.url):
            try:
                found = self._fs.ls(self._path(directory), detail=True)
            except FileNotFoundError:
                return
        yield from ((entry["name"].rstrip("/").rsplit("/", 1)[1], entry.get("size") or 0) for entry in found)

    def walk(self) -> Iterator[str]:
        """See `Place`."""
        with _explained(self.url):
            for folder, _, files in self._fs.walk(self._root):
                prefix = folder.strip("/").removeprefix(self._root.strip("/")).strip("/")
                yield from (f"{prefix}/{name}" if prefix else name for name in files)

    def append(self, log: str, data: bytes) -> None:
        """See `Place`. The writer is part of the name, so that no two writers can replace each other's object."""
        number = self._written.get(log)
        if number is None:
            number = sum(1 for _ in self.names(log))
        self.write({f"{log}/{number:010d}-{self._writer}.jsonl": data})
        self._written[log] = number + 1

    def lines(self, log: str) -> Iterator[bytes]:
        """See `Place`."""
        sizes = dict(sorted(self._listed(log)))
        if large := next((name for name, size in sizes.items() if size > LONGEST_LOG), None):
            raise OddFileError(f"{self.url}: {log}/{large} is larger than {LONGEST_LOG:,} bytes.")
        names = list(sizes)
        for first in range(0, len(names), BATCH):
            paths = [self._path(f"{log}/{name}") for name in names[first : first + BATCH]]
            with _explained(self.url):
                found = self._fs.cat(paths)
            for path in paths:
                for line in found[path].splitlines(keepends=True):
                    if len(line) > LONGEST_LINE:
                        raise OddFileError(f"{self.url}: {log} has a line of more than {LONGEST_LINE:,} bytes.")
                    yield line

    def replace_log(self, log: str, lines: Iterable[bytes]) -> None:
        """See `Place`. The new object comes first: lines that are there twice for a moment are harmless."""
        old = list(self.names(log))
        data = b"".join(lines)
        if data:
            self.append(log, data)
        for name in old:
            self.delete(f"{log}/{name}")


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{url}: {reason}") from error


PARTIAL = ".partial"  # what a killed writer leaves behind ends so; no reader ever looks at it


class Place(Protocol):
    """The few operations that the run store needs."""

    @property
    def url(self) -> str:
        """The place as the user named it."""

    def read(self, key: str, limit: int = SMALL) -> bytes | None:
        """Read the whole content, at most so many bytes; None where there is none.

        Raises:
            OddFileError: There is more, or it is not a regular file.
            UserError: It cannot be read.
        """

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write each file whole or not at all; all are durable on return. Never brings back a run that was removed."""

    def create(self, files: Mapping[str, bytes], last: str) -> None:
        """Make the run's directory with these files; the one named appears last, so that no reader sees half a run."""

    def occupied(self, files: Iterable[str]) -> bool:
        """Check whether there is anything other than what a `create` of these files, cut short, may have left."""

    def exists(self, key: str) -> bool:
        """Check whether the key has content."""

    def delete(self, key: str) -> None:
        """Remove a key; one that is not there is no error."""

    def names(self, directory: str) -> Iterator[str]:
        """Name what lies directly in a directory."""

    def walk(self) -> Iterator[str]:
        """Walk all keys."""

    def append(self, log: str, data: bytes) -> None:
        """Add whole lines to a log, durably. On failure the log is as before, or has a torn end."""

    def lines(self, log: str) -> Iterator[bytes]:
        """Read the lines of a log; a torn last line lacks its newline.

        Raises:
            OddFileError: A line is longer than `LONGEST_LINE`, or it is not a regular file.
        """

    def replace_log(self, log: str, lines: Iterable[bytes]) -> None:
        """Put these lines in place of the whole log; a crash leaves the old log or the new one."""


def open_place(url: str | Path) -> Place:
    """Open the place that a path or URL names.

    Raises:
        UserError: For a URL whose file system is unknown or not installed.
    """
    text = str(url)
    if "://" not in text:
        return LocalPlace(Path(text))
    if text.startswith("file://"):
        return LocalPlace(Path(urlsplit(text).path))
    return ObjectPlace.from_url(text)


def explain(url: str, error: OSError) -> UserError:
    """Explain in one line what the operating system refused."""
    reason = error.strerror or str(error)
    return UserError(f"{url}: {reason}. Mend that and go on with `resume`, or pass another `out`.")


class LocalPlace:
    """A directory. Files are written beside their place, synced, renamed, and the directory synced."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """The path as the user named it."""
        return str(self.root)

    def read(self, key: str, limit: int = SMALL) -> bytes | None:
        """See `Place`."""
        try:
            return read_regular(self.root / key, limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(key, error) from error

    def write(self, files: Mapping[str, bytes]) -> None:
        """See `Place`. The data is synced before the rename so that a power cut cannot put an empty file in place."""
        try:
            _write_all({self._path(key): data for key, data in files.items()})
        except OSError as error:
            raise explain(self.url, error) from error

    def create(self, files: Mapping[str, bytes], last: str) -> None:  # noqa: ARG002  # here all appears at once
        """See `Place`. The run is made beside its place and renamed, so it appears whole or not at all."""
        parent = self.root.absolute().parent
        if not parent.is_dir():
            raise UserError(f"{self.url}: there is no directory {parent}. Make it, or pass another `out`.")
        beside = _beside(self.root)
        try:
            beside.mkdir()
            for key in files:
                (beside / key).parent.mkdir(parents=True, exist_ok=True)
            _write_all({beside / key: data for key, data in files.items()})
            beside.rename(self.root)  # refused by the system where a directory with anything in it exists
            _sync(parent)
        except OSError as error:
            raise explain(self.url, error) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def occupied(self, files: Iterable[str]) -> bool:  # noqa: ARG002  # here `create` leaves all or nothing
        """See `Place`."""
        try:
            return os.path.lexists(self.root) and not (self.root.is_dir() and not any(self.root.iterdir()))
        except OSError as error:
            raise explain(self.url, error) from error

    def exists(self, key: str) -> bool:
        """See `Place`."""
        try:
            return (self.root / key).is_file()
        except OSError as error:
            raise self._unreadable(key, error) from error

    def delete(self, key: str) -> None:
        """See `Place`."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise self._unreadable(key, error) from error

    def names(self, directory: str) -> Iterator[str]:
        """See `Place`."""
        try:
            with os.scandir(self.root / directory) as entries:
                yield from (entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._unreadable(directory, error) from error

    def walk(self) -> Iterator[str]:
        """See `Place`."""

        def refuse(error: OSError) -> None:
            raise self._unreadable(str(Path(error.filename).relative_to(self.root)), error) from error

        for folder, _, files in os.walk(self.root, onerror=refuse):
            prefix = Path(folder).relative_to(self.root)
            yield from ((prefix / name).as_posix() for name in files)

    def append(self, log: str, data: bytes) -> None:
        """See `Place`. A line that did not fit on the disk is cut off again."""
        try:
            handle = os.open(self._path(log), _APPENDING, 0o666)
        except OSError as error:
            raise explain(self.url, error) from error
        size = os.fstat(handle).st_size
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")  # noqa: TRY301  # explained like the others
            _write_fully(handle, data)
            os.fsync(handle)
        except OSError as error:
            with suppress(OSError):  # what is not a regular file cannot be cut
                os.ftruncate(handle, size)
            raise explain(self.url, error) from error
        finally:
            os.close(handle)

    def lines(self, log: str) -> Iterator[bytes]:
        """See `Place`."""
        try:
            with open_regular(self.root / log) as handle:
                while line := handle.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        raise OddFileError(f"{self.root / log}: a line of more than {LONGEST_LINE:,} bytes.")
                    yield line
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._unreadable(log, error) from error

    def replace_log(self, log: str, lines: Iterable[bytes]) -> None:
        """See `Place`."""
        path = self._path(log)
        beside = _beside(path)
        try:
            with beside.open("xb") as handle:
                handle.writelines(lines)
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(path)
            _sync(path.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise explain(self.url, error) from error

    def _path(self, key: str) -> Path:
        """Choose where to write a key. A run has no links: in one that somebody else made they would lead out of it.

        Raises:
            UserError: A directory on the way is a link.
        """
        path = self.root / key
        for folder in list(path.parents)[: key.count("/")]:
            if folder.is_symlink():
                raise UserError(
                    f"{folder}: a symbolic link, which a run does not have. Put the directory itself there."
                )
        return path

    def _unreadable(self, key: str, error: OSError) -> UserError:
        kind = OddFileError if error.errno in {errno.EINVAL, errno.EFBIG} else UserError
        return kind(f"{self.root / key}: {error.strerror or error}. Nothing was changed; mend that first.")


_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(paths: Collection[Path]) -> None:
    """Sync at the same time, as file systems group that; one by one where no more threads are to be had."""
    with ThreadPoolExecutor(len(paths)) as pool:
        try:
            done = [pool.submit(_sync, path) for path in paths]
        except RuntimeError:
            done = []
        for future in done:
            future.result()
    if not done:
        for path in paths:
            _sync(path)


def _write_fully(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _write_all(files: Mapping[Path, bytes]) -> None:
    """Write beside, sync all together (the file system groups what is synced at once), rename, sync directories."""
    pairs = {_beside(path): path for path in files}
    for parent in {path.parent for path in files}:
        parent.mkdir(exist_ok=True)  # without parents: a late worker must not bring back a run that was removed
    try:
        for beside, path in pairs.items():
            with beside.open("xb") as handle:
                handle.write(files[path])
        _sync_all(pairs)
        for beside, path in pairs.items():
            beside.replace(path)
        _sync_all({path.parent for path in files})
    finally:
        for beside in pairs:
            beside.unlink(missing_ok=True)
