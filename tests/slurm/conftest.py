"""A SLURM of three nodes, and a run that takes some seconds on it."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained, untrained_for_structures
from screening.engine.block import Block
from screening.engine.score import load_model, score_block
from screening.plan import make_plan
from screening.recipe import make_recipe
from screening.store import StoredRun

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TRAINED = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O", "N")}
SLOW = Settings(targets=("e_above_hull", "a"), width=64, layers=4, hidden=64, gaussians=40)
A = ("Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba", "La", "Y", "Pb", "Bi", "Ce")
B = ("Ti", "Zr", "Hf", "Nb", "Ta", "V", "Al", "Ga", "Mn", "Fe")
X = ("O", "N", "F", "S", "Cl", "Br")
PATIENCE = 90


@dataclass(frozen=True)
class Slurm:
    """The cluster, and the command that screens on it.

    Attributes:
        folder: where jobs run.
        environment: of everything that talks to this SLURM.
        model: file of a model.
        expected: column -> bytes, as one process computes them.
    """

    folder: Path
    environment: dict[str, str]
    model: Path
    expected: dict[str, bytes]

    def ask(self, *command: str) -> str:
        """Run one of SLURM's commands."""
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, check=True, capture_output=True, text=True, timeout=PATIENCE
        )
        return done.stdout.strip()

    def screen(self, run: str) -> list[str]:
        """Arguments of `screen` that fill a run."""
        sites = [f"--{site}={','.join(elements)}" for site, elements in zip("abx", (A, B, X), strict=True)]
        return [
            *("perovskites", *sites, "--anions", "3", "--model", str(self.model), "--block-size", "512"),
            *("--top", "1", "--out", f"{run}.zarr"),
        ]

    def start(self, run: str, *options: str) -> "subprocess.Popen[str]":
        """Begin to fill a run from here, the login node."""
        command = [sys.executable, "-m", "screening", *self.screen(run), *options]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.environment, cwd=self.folder, **streams)

    def jobs(self, pattern: str = "") -> dict[str, str]:
        """Nodes of the running jobs of that name by number."""
        rows = [line.split() for line in self.ask("squeue", "-h", "-t", "running", "-o", "%A %N %j").splitlines()]
        return {number: node for number, node, name in rows if pattern in name}

    def wait(self, job: str) -> str:
        """The state in which a job ended."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            record = self.ask("scontrol", "show", "job", job)
            states = {field.partition("=")[2] for field in record.split() if field.startswith("JobState=")}
            if states <= {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}:
                return " ".join(sorted(states))
            time.sleep(0.2)
        raise TimeoutError(f"{self.ask('squeue')}\n{self.logs()}")

    def logs(self) -> str:
        """What the jobs said."""
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def committed(self, run: str) -> int:
        """Blocks of a run that are committed."""
        parts = (self.folder / f"{run}.zarr").rglob("part-*.jsonl")
        return sum(part.read_bytes().count(b"\n") for part in parts)

    def until(self, run: str, blocks: int) -> None:
        """Wait until so many blocks of a run are committed, and not all."""
        end = time.monotonic() + PATIENCE
        while self.committed(run) < blocks:
            assert time.monotonic() < end, self.logs()
            time.sleep(0.05)
        with StoredRun.open(str(self.folder / f"{run}.zarr")) as there:
            assert there.n_committed < there.header.n_blocks, "too late to disturb it"

    def check(self, run: str, expected: dict[str, bytes] | None = None) -> None:
        """Compare a run with what was expected, bit by bit."""
        group = zarr.open_group(str(self.folder / f"{run}.zarr"), mode="r")
        found = {name: np.asarray(group[name][:]).tobytes() for name in group.array_keys()}
        assert found == (expected or self.expected)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if os.environ.get("SCREEN_TEST_SLURM") != "1":
        pytest.skip("set SCREEN_TEST_SLURM=1 to install and start a SLURM on this machine")
    state, folder = tmp_path_factory.mktemp("slurm"), tmp_path_factory.mktemp("jobs")
    subprocess.run([HERE / "start-slurm.sh", state], check=True)
    model = save(untrained(CUBIC_PEROVSKITE, TRAINED, SLOW), folder / "model")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "COV"))},
        "SLURM_CONF": str(state / "slurm.conf"),
        "PYTHONPATH": str(ROOT),
        "SCREEN": f"{sys.executable} -m screening",
    }
    sites = {"kind": "perovskites", "a": A, "b": B, "x": X, "anions": 3}
    yield Slurm(folder, environment, model, in_one_process(model=str(model), **sites))
    subprocess.run([HERE / "start-slurm.sh", "--stop", state], check=True)


def in_one_process(**recipe: object) -> dict[str, bytes]:
    """The columns of the whole space, without Dask, blocks or SLURM."""
    plan = make_plan(make_recipe(**recipe))
    columns = score_block(plan, load_model(plan), Block(0, 0, plan.candidates.count)).columns
    return {name: values.tobytes() for name, values in columns.items()}


@pytest.fixture
def crystals(slurm):
    """Arguments of `screen` for 300 structures, and the columns to expect."""
    model = save(untrained_for_structures(replace(SLOW, targets=("e_above_hull",))), slurm.folder / "structures")
    path = slurm.folder / "crystals.jsonl"
    frac = [list(site) for site in CUBIC_PEROVSKITE.frac]
    rows = (
        {"cell": [3.7 + i / 500] * 3 + [90] * 3, "species": [A[i % 12], "Ti", "O", "O", "O"], "frac": frac}
        for i in range(300)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = ["structures", str(path), "--model", str(model), "--block-size", "64", "--out", "crystals.zarr"]
    return arguments, in_one_process(kind="structures", paths=(path,), model=str(model))


@pytest.fixture
def profile(slurm):
    """A profile of this SLURM, with two builders and one inference worker."""
    path = slurm.folder / "site.toml"
    common = 'walltime = "10"\nmemory = "500MB"'
    path.write_text(f"""
kind = "slurm"
interface = "lo"
[builders]
count = 2
partition = "cpu"
{common}
[inference]
count = 1
partition = "gpu"
gres = "gpu:1"
{common}
""")
    return path
