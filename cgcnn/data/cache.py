"""Graphs kept on disk, so that a crystal is parsed and searched for neighbours once.

One SQLite file: additions are transactions, so that a kill leaves the old content or the new, and processes may share
it. Each graph has a checksum; one that does not match counts as absent. The file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.graphs.batch import GraphBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cgcnn.graphs.graph import CrystalGraph

LARGEST = 4 * 2**30  # bytes; beyond it, the oldest half goes
_AT_ONCE = 500  # keys a query; SQLite takes no more than 999
_TIMEOUT = 30.0  # s to wait for another process


def default_folder() -> Path:
    """Where caches go on this system: ``$XDG_CACHE_HOME``, ``~/Library/Caches``, ``%LOCALAPPDATA%`` or ``~/.cache``."""
    system = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    root = os.environ.get("XDG_CACHE_HOME") or system.get(sys.platform, "~/.cache")
    return Path(root).expanduser() / "cgcnn"


def find(folder: Path, keys: Sequence[bytes]) -> dict[bytes, CrystalGraph]:
    """The graphs that are there, by key.

    Raises:
        OSError: The folder cannot be used.
        sqlite3.Error: The file is not a cache, or is locked for long.
    """
    found: dict[bytes, CrystalGraph] = {}
    with closing(_open(folder)) as connection:
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            rows = connection.execute(f"SELECT key, graph FROM graphs WHERE key IN ({marks})", part)
            found |= {key: graph for key, content in rows if (graph := _unpack(content)) is not None}
    return found


def add(folder: Path, graphs: Iterable[tuple[bytes, CrystalGraph]], largest: int = LARGEST) -> None:
    """Keep graphs under their keys.

    Raises:
        OSError: The folder cannot be used.
        sqlite3.Error: The file is not a cache, is locked for long, or the disk is full.
    """
    with closing(_open(folder)) as connection, connection:
        rows = [(key, _pack(graph)) for key, graph in graphs]
        connection.executemany("INSERT OR REPLACE INTO graphs (key, graph) VALUES (?, ?)", rows)
        pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZE)
        if (pages - free) * size > largest:
            connection.execute("DELETE FROM graphs WHERE number <= (SELECT avg(number) FROM graphs)")


_SIZE = ("page_count", "freelist_count", "page_size")


def _open(folder: Path) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / "graphs.sqlite", timeout=_TIMEOUT)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS graphs (number INTEGER PRIMARY KEY, key BLOB UNIQUE, graph BLOB)"
        )
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE))


def _pack(graph: CrystalGraph) -> bytes:
    """Checksum and graph."""
    content = GraphBatch.of_graphs([graph]).to_bytes()
    return _checksum(content) + content


def _unpack(content: bytes) -> CrystalGraph | None:
    """The graph, or None where it is damaged, or in the form of another version."""
    checksum, body = content[:16], content[16:]
    if _checksum(body) != checksum:
        return None
    try:
        return GraphBatch.from_bytes(body).split()[0]
    except ValueError:
        return None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
