"""From samples to graphs: in parallel, from a cache where it has them, with a reason for each that cannot be built."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import islice
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data import cache
from cgcnn.data.bounds import check_reach
from cgcnn.data.crystal import structure
from cgcnn.errors import UserError
from cgcnn.graphs.graph import EQUAL, CrystalGraph, original_graph
from cgcnn.machine import safe_children

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pymatgen.core.structure import Structure

    from cgcnn.data.sample import Form, Sample
    from cgcnn.network.settings import GraphKind, Settings

_FORMAT = 4  # to be counted up when the same crystal gives another graph
_AT_ONCE = 50  # crystals a task
_WORTH_A_WORKER = 1.5  # s of work; less is done before a process has started
Report = Callable[[int, int], None]
"""Called with the graphs built so far and those to be built."""


@dataclass(frozen=True)
class Rule:
    """What of a network's settings decides a graph; see `cgcnn.network.settings.Settings`."""

    graphs: GraphKind
    neighbours: int
    radius: float

    @classmethod
    def of(cls, settings: Settings) -> Rule:
        """The rule of a network."""
        return cls(settings.graphs, settings.neighbours, settings.radius)

    def graph(self, crystal: Structure) -> CrystalGraph:
        """The graph of a crystal: the quotient of complete shells, or of what the published code builds.

        Raises:
            UserError: The crystal cannot become such a graph.
        """
        if self.graphs == "original":
            return original_graph(crystal, neighbours=self.neighbours, radius=self.radius).quotient(EQUAL)
        return CrystalGraph.from_structure(crystal, neighbours=self.neighbours, radius=self.radius).quotient()


@dataclass(frozen=True)
class Builder:
    """How graphs are built.

    Attributes:
        rule: Which graphs.
        workers: Processes; one works in this process.
        folder: Of the cache; None for no cache.
        report: Told of the progress.
        note: Told what a user should know, such as a cache that cannot be used.
    """

    rule: Rule
    workers: int = 1
    folder: Path | None = None
    report: Report = lambda _done, _total: None
    note: Callable[[str], None] = lambda _: None

    def build(self, samples: Sequence[Sample]) -> list[CrystalGraph | str]:
        """The graph of each sample, or the reason why there is none, in their order.

        Raises:
            UserError: A worker process died.
        """
        keys = [key(e, self.rule) for e in samples]
        store = _Store(self.folder, self.note)
        found: dict[bytes, CrystalGraph | str] = dict(store.find(keys))
        missing = {k: (e.form, e.content) for k, e in zip(keys, samples, strict=True) if k not in found}
        for part in self._parts(list(missing.items())):
            found |= part
            store.add([(k, graph) for k, graph in part.items() if not isinstance(graph, str)])
        return [found[k] for k in keys]

    def _parts(self, work: list[tuple[bytes, tuple[Form, str]]]) -> Iterator[dict[bytes, CrystalGraph | str]]:
        """Results by key, a part at a time, in the order in which they were asked for."""
        tasks = [work[i : i + _AT_ONCE] for i in range(0, len(work), _AT_ONCE)]
        done = 0
        for task, graphs in zip(tasks, self._results([[item for _, item in task] for task in tasks]), strict=True):
            done += len(task)
            self.report(done, len(work))
            yield {k: graph for (k, _), graph in zip(task, graphs, strict=True)}

    def _results(self, tasks: list[list[tuple[Form, str]]]) -> Iterator[list[CrystalGraph | str]]:
        run, waiting = partial(_build, self.rule), iter(tasks)
        yield from map(run, islice(waiting, 1))  # and imports
        start = time.monotonic()
        yield from map(run, islice(waiting, 1))  # the time that this takes: plain CIFs need a tenth of others
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
                    "a process that builds graphs died (out of memory?); give `workers` 1 to see where"
                ) from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Store:
    """The cache, given up with a note at its first error: it saves time, and is not needed."""

    folder: Path | None
    note: Callable[[str], None]

    def find(self, keys: Sequence[bytes]) -> dict[bytes, CrystalGraph]:
        if self.folder is not None:
            try:
                return cache.find(self.folder, keys)
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)
        return {}

    def add(self, graphs: list[tuple[bytes, CrystalGraph]]) -> None:
        if self.folder is not None:
            try:
                cache.add(self.folder, graphs)
            except (OSError, sqlite3.Error) as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.note(f"{self.folder}: not a usable cache of graphs ({error}); going on without it")
        self.folder = None


def key(item: Sample, rule: Rule) -> bytes:
    """What names a graph in the cache: the crystal's content, the rule, and who parses it."""
    mark = f"{_FORMAT} {_parser()} {rule.graphs} {rule.neighbours} {rule.radius!r} {item.form}\n{item.content}"
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
        return "not enough memory for its graph; give it a machine with more, or leave it out"
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one crystal must not stop the others
        return f"no graph can be made of it ({type(error).__name__}: {' '.join(str(error).split())})"
