"""Build the graphs of samples: in parallel, from a cache where possible, with a reason for each failure."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.limits import check_reach
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import EQUAL, CrystalGraph, original_graph
from cgcnn.machine import safe_children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pymatgen.core.structure import Structure

    from cgcnn.data.samples import Form, Sample
    from cgcnn.network.settings import GraphKind, Settings

CACHE_SIZE = 4 * 2**30
"""Largest size of a cache in bytes; beyond it, the older half is deleted."""
_FORMAT = 4  # increase it when the same crystal gives another graph
_CRYSTALS = 50  # per task
_KEYS = 500  # per query; SQLite takes no more than 999
_TIMEOUT = 30.0  # s to wait for another process to release the cache
_WORTH_A_WORKER = 1.5  # s of work; a process takes longer than less work to start


@dataclass(frozen=True)
class Rule:
    """The settings of a network that decide a graph; see `cgcnn.network.settings.Settings`."""

    graphs: GraphKind
    neighbours: int
    radius: float

    @classmethod
    def of(cls, settings: Settings) -> Rule:
        """Return the rule of a network."""
        return cls(settings.graphs, settings.neighbours, settings.radius)

    def graph(self, crystal: Structure) -> CrystalGraph:
        """Build the graph of a crystal: the quotient of complete shells, or of the published code's graph.

        Raises:
            UserError: The crystal has no such graph.
        """
        if self.graphs == "original":
            return original_graph(crystal, neighbours=self.neighbours, radius=self.radius).quotient(EQUAL)
        return CrystalGraph.from_structure(crystal, neighbours=self.neighbours, radius=self.radius).quotient()


@dataclass(frozen=True)
class Builder:
    """A way to build graphs.

    Attributes:
        rule: Which graphs to build.
        workers: Number of processes; 1 builds in this process.
        folder: Folder of the cache; None for no cache.
        report: Called with the number of graphs built so far and in all.
        note: Called with what the user should know, such as that the cache cannot be used.
    """

    rule: Rule
    workers: int = 1
    folder: Path | None = None
    report: Callable[[int, int], None] = lambda _done, _total: None
    note: Callable[[str], None] = lambda _: None

    def build(self, samples: Sequence[Sample]) -> list[CrystalGraph | str]:
        """Build the graph of each sample in order; a string is the reason why there is none.

        Raises:
            UserError: A worker process died.
        """
        keys = [key(sample, self.rule) for sample in samples]
        cache = GraphCache(self.folder, self.note)
        found: dict[bytes, CrystalGraph | str] = dict(cache.find(keys))
        missing = {k: (s.form, s.content) for k, s in zip(keys, samples, strict=True) if k not in found}
        work, done = list(missing.items()), 0
        tasks = [work[i : i + _CRYSTALS] for i in range(0, len(work), _CRYSTALS)]
        for task, graphs in zip(tasks, self._results([[item for _, item in task] for task in tasks]), strict=True):
            built = {k: graph for (k, _), graph in zip(task, graphs, strict=True)}
            done += len(task)
            self.report(done, len(work))
            found |= built
            cache.add({k: graph for k, graph in built.items() if not isinstance(graph, str)})
        return [found[k] for k in keys]

    def _results(self, tasks: list[list[tuple[Form, str]]]) -> Iterator[list[CrystalGraph | str]]:
        """Yield the graphs of each task in order; start workers if the remaining work is worth it."""
        run, waiting = partial(_build, self.rule), iter(tasks)
        yield from map(run, islice(waiting, 1))  # includes the time of imports
        start = time.monotonic()
        yield from map(run, islice(waiting, 1))  # a plain CIF takes a tenth of the time of others, so measure
        left = (time.monotonic() - start) * (len(tasks) - 2)
        workers = min(self.workers, int(left / _WORTH_A_WORKER))
        if workers < 2:
            yield from map(run, waiting)
            return
        spawn = get_context("spawn")  # torch has threads: never fork
        with safe_children(), ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            try:
                yield from pool.map(run, waiting)
            except BrokenProcessPool:
                raise UserError(
                    "a process that builds graphs died (out of memory?); set `workers` to 1 to see at which crystal"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class GraphCache:
    """Graphs on disk, so that each crystal is parsed and searched for neighbours only once.

    It is one SQLite file. Additions are transactions, so a kill leaves the old content or the new, and several
    processes can share it. Each graph has a checksum; a damaged graph counts as missing. The cache only saves time: at
    the first error it is given up with a note. You may delete the file at any time.

    Attributes:
        folder: Folder of the file; None for no cache.
        note: Called with the reason if the cache cannot be used.
        size: Largest size in bytes.
    """

    folder: Path | None
    note: Callable[[str], None] = lambda _: None
    size: int = CACHE_SIZE

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CrystalGraph]:
        """Return the graphs that the cache holds, by key."""
        found: dict[bytes, CrystalGraph] = {}
        if self.folder is None:
            return found
        try:
            with closing(_connect(self.folder)) as connection:
                for part in (keys[i : i + _KEYS] for i in range(0, len(keys), _KEYS)):
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key, graph FROM graphs WHERE key IN ({marks})", part)
                    found |= {k: graph for k, content in rows if (graph := _unpack(content)) is not None}
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
            return {}
        return found

    def add(self, graphs: dict[bytes, CrystalGraph]) -> None:
        """Store graphs under their keys; delete the older half of a cache that grows too large."""
        if self.folder is None:
            return
        try:
            with closing(_connect(self.folder)) as connection, connection:
                rows = [(k, _pack(graph)) for k, graph in graphs.items()]
                connection.executemany("INSERT OR REPLACE INTO graphs (key, graph) VALUES (?, ?)", rows)
                pages, free, page_size = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
                if (pages - free) * page_size > self.size:
                    connection.execute("DELETE FROM graphs WHERE number <= (SELECT avg(number) FROM graphs)")
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.note(f"{self.folder}: cannot be used as a graph cache ({error}); continuing without it")
        self.folder = None


def default_folder() -> Path:
    """Return the cache folder: in ``$XDG_CACHE_HOME``, ``~/Library/Caches``, ``%LOCALAPPDATA%`` or ``~/.cache``."""
    system = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    root = os.environ.get("XDG_CACHE_HOME") or system.get(sys.platform, "~/.cache")
    return Path(root).expanduser() / "cgcnn"


def _connect(folder: Path) -> sqlite3.Connection:
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


def _pack(graph: CrystalGraph) -> bytes:
    content = GraphBatch.of_graphs([graph]).to_bytes()
    return _checksum(content) + content


def _unpack(content: bytes) -> CrystalGraph | None:
    """Return the graph, or None if it is damaged or written by another version."""
    checksum, body = content[:16], content[16:]
    if _checksum(body) != checksum:
        return None
    try:
        return GraphBatch.from_bytes(body).split()[0]
    except ValueError:
        return None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def key(sample: Sample, rule: Rule) -> bytes:
    """Return the key of a graph in the cache: a hash of the crystal's content, the rule and the parser's version."""
    mark = f"{_FORMAT} {_parser()} {rule.graphs} {rule.neighbours} {rule.radius!r} {sample.form}\n{sample.content}"
    return hashlib.blake2b(mark.encode("utf-8", errors="surrogatepass"), digest_size=24).digest()


@lru_cache(maxsize=1)
def _parser() -> str:
    return version("pymatgen")


def _build(rule: Rule, items: Sequence[tuple[Form, str]]) -> list[CrystalGraph | str]:
    return [_build_one(rule, form, content) for form, content in items]


def _build_one(rule: Rule, form: Form, content: str) -> CrystalGraph | str:
    try:
        crystal = structure(form, content)
        check_reach(np.asarray(crystal.lattice.matrix), len(crystal), rule.radius)
        return rule.graph(crystal)
    except UserError as error:
        return str(error)
    except MemoryError:
        return "not enough memory for its graph; use a machine with more, or remove the crystal"
    except Exception as error:  # noqa: BLE001  # one bad crystal must not stop the others
        return f"no graph can be built ({type(error).__name__}: {' '.join(str(error).split())})"
