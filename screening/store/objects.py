"""A run on an object store, through any file system that fsspec knows (`s3://`, `gs://`, `memory://` …).

An object is written whole or not at all. Nothing can be appended, so a log is a directory with one object for each
commit.
"""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fsspec import get_filesystem_class  # type: ignore[import-untyped]
from fsspec.archive import AbstractArchiveFileSystem  # type: ignore[import-untyped]
from fsspec.core import url_to_fs  # type: ignore[import-untyped]

from cgcnn.errors import OddFileError, UserError
from cgcnn.files import LONGEST_LINE, SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

BATCH = 256  # objects of a log that are fetched at once
LONGEST_LOG = 2**30  # bytes of one of them: `replace_log` makes one of all


class ObjectPlace:
    """See `screening.store.place.Place`."""

    def __init__(self, url: str, fs: Any, root: str) -> None:
        self.url = url
        self._fs = fs
        self._root = root.rstrip("/")
        self._writer = uuid.uuid4().hex[:12]
        self._written: dict[str, int] = {}

    @classmethod
    def from_url(cls, url: str) -> ObjectPlace:
        """Credentials and endpoints come from the environment or fsspec's own configuration.

        Raises:
            UserError: For an unknown protocol or one whose package is not installed.
        """
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
        """Name and size of what lies directly in a directory."""
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
