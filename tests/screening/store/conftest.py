"""A small run that the tests of the store share: its rows are a function of their index alone."""

import contextlib
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from screening.store import BlockReceipt, Column, Header, RunReference, StoredRun, write_block

HEADER = Header(
    rows=95,
    block_rows=20,
    columns=(
        Column("species", "uint8", "", "atomic numbers", 0, (5,), ("site",)),
        Column("status", "uint8", "", "how the candidate ended"),
        Column("e_above_hull", "float32", "eV/atom", "energy above the hull", math.nan),
        Column("in_domain", "bool", "", "known to the model", fill=False),
    ),
    recipe={"elements": ["Ca", "Ti", "O"], "anions": 1},
    space={"prototype": "cubic-perovskite", "size": 95},
    filters=("charge",),
    model="castelli",
    model_digest="abc",
    code_version="0.1.0",
    created="2026-01-01T00:00:00+00:00",
)


@dataclass(frozen=True)
class Toy:
    """What a test needs of the small run."""

    header: Header = HEADER

    def other(self, **changes: object) -> Header:
        return replace(self.header, **changes)

    def species(self, start: int, stop: int) -> np.ndarray:
        index = np.arange(start, stop)[:, None]  # (n, 1)
        return ((index * np.array([3, 5, 7, 11, 13]) + 1) % 90 + 1).astype(np.uint8)  # (n, 5)

    def identity(self, start: int, stop: int) -> dict[str, np.ndarray]:
        return {"species": self.species(start, stop)}

    def rows(self, start: int, stop: int) -> dict[str, np.ndarray]:
        index = np.arange(start, stop)
        status = np.select([index % 7 == 3, index % 5 == 0], [2, 10], 1).astype(np.uint8)
        energy = np.where(status == 1, np.sin(index), np.nan).astype(np.float32)
        return {
            "species": self.species(start, stop),
            "status": status,
            "e_above_hull": energy,
            "in_domain": index % 3 == 0,
        }

    def write(self, target: RunReference, block: int) -> BlockReceipt:
        start, stop = self.header.bounds(block)
        rows = self.rows(start, stop)
        failed = np.flatnonzero(rows["status"] == 2)
        return write_block(target, start, rows, failures={start + int(i): f"bad {i % 2}" for i in failed})

    def finish(self, run: StoredRun) -> int:
        """Do what is missing; how many blocks that was."""
        blocks = list(run.missing_blocks())
        for block in blocks:
            run.commit(self.write(run.target, block))
        return len(blocks)

    def make(self, url: str, blocks: range | None = None) -> None:
        with StoredRun.create(url, self.header) as run:
            for block in range(run.header.n_blocks) if blocks is None else blocks:
                run.commit(self.write(run.target, block))

    def resume(self, url: str) -> int:
        with StoredRun.resume(url, self.header) as run:
            return self.finish(run)

    def same(self, url: str) -> bool:
        """Whether the run holds just what an undisturbed one does, bit for bit."""
        run = StoredRun.open(url)
        expected = self.rows(0, self.header.rows)
        found = run.read(list(expected), 0, self.header.rows)
        return all(found[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(params=["directory", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a run may lie."""
    if request.param == "directory":
        return str(tmp_path / "R.zarr")
    base = "memory://runs" if request.param == "memory" else request.getfixturevalue("s3_server")
    return f"{base}/{uuid.uuid4().hex}/R.zarr"


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python process that runs some code with arguments; it is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        here = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from conftest import Toy; toy = Toy()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", here + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()
