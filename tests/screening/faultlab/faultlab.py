"""Real runs of the real command, to be disturbed, and what is measured of them. For the tests and the benchmark."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained
from screening.store import BlockReceipt

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KNOWN = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O", "N")}
A = "Li,Na,K,Rb,Cs,Mg,Ca,Sr,Ba,La,Y,Pb,Tl,Bi,Ce,Nd"
B = "Ti,Zr,Hf,Nb,Ta,V,Al,Ga,Sc,Mn,Fe,Co,Ni,Cr,W,Mo"
BLOCK = 512
WORKERS = 2
QUICK = Settings(targets=("e_above_hull", "a"), width=8, layers=2, hidden=8, gaussians=12)
SLOW = Settings(targets=("e_above_hull", "a"), width=32, layers=3, hidden=32, gaussians=24)


@dataclass(frozen=True)
class Lab:
    """A folder with a model, and the command that screens some thousand candidates with it.

    Attributes:
        folder: where runs are made.
        model: file of an untrained model.
        anions: how many kinds of X a cell may have; 3 makes 42 blocks, 2 makes 25.
    """

    folder: Path
    model: Path
    anions: int = 3

    @classmethod
    def make(cls, folder: Path, settings: Settings = QUICK, anions: int = 3) -> "Lab":
        """A lab in an empty folder."""
        return cls(folder, save(untrained(CUBIC_PEROVSKITE, KNOWN, settings), folder / "model"), anions)

    def arguments(self, run: Path | str, *more: str, workers: int = WORKERS) -> list[str]:
        """Arguments of `screen` that fill a run, or go on with it; without workers its own process does the work."""
        space = ["--a", A, "--b", B, "--x", "O,N,F,S,Cl,Br,I", "--anions", str(self.anions), "--no-filter"]
        size = ["--block-size", str(BLOCK), *(["--workers", str(workers)] if workers else []), "--top", "3"]
        return ["perovskites", *space, *size, "--model", str(self.model), "--out", str(run), "--resume", *more]

    def start(self, run: Path | str, *more: str, workers: int = WORKERS, **fault: str) -> "Screen":
        """Start the command on a run, with more arguments; `fault` goes into its environment."""
        return Screen.start(self.folder, self.arguments(run, *more, workers=workers), fault)


@dataclass(frozen=True)
class Screen:
    """A running `screen` in a session of its own, so that whatever it starts can be found."""

    process: "subprocess.Popen[bytes]"
    errors: Path
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, folder: Path, arguments: list[str], fault: Mapping[str, str] | None = None) -> "Screen":
        """Start `python -m screening` with arguments, in a folder."""
        return cls.python(folder, ["-m", "screening", *arguments], fault)

    @classmethod
    def python(cls, folder: Path, command: list[str], fault: Mapping[str, str] | None = None) -> "Screen":
        """Start Python with a command line, in a folder."""
        errors = folder / f"stderr-{time.monotonic_ns()}"
        environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", "COLUMNS": "200", **(fault or {})}
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,
            )
        return cls(process, errors)

    @property
    def alive(self) -> bool:
        """Whether the command still runs."""
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """What came on stderr until now."""
        return self.errors.read_text()

    def wait(self, timeout: float = 180) -> int:
        """Its exit code; it is killed with all it started if it takes longer than so many seconds."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise

    def wait_for(self, happens: Callable[[], bool], timeout: float = 60) -> bool:
        """Whether something happened before the command ended."""
        end = time.monotonic() + timeout
        while self.alive and time.monotonic() < end:
            if happens():
                return True
            time.sleep(0.03)
        return False

    def catches(self, number: int) -> bool:
        """Whether the process has a handler for a signal yet."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return False
        mask = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(mask.split()[1], 16) >> (number - 1) & 1)

    def kill(self) -> None:
        """Kill the command itself and nothing else, without a warning."""
        self.process.kill()
        self.process.wait()

    def family(self) -> list[int]:
        """Every living process of its session but itself."""
        return [pid for pid in _session(self.process.pid) if pid != self.process.pid]

    def workers(self) -> list[int]:
        """Its worker processes, those that are just starting included."""
        return [pid for pid in self.family() if b"spawn_main" in _command(pid)]

    def orphans(self, patience: float = 10) -> tuple[int, float]:
        """How many processes of the session outlive the command for so many seconds, and when the last ended."""
        begun = time.monotonic()
        while self.family() and time.monotonic() - begun < patience:
            time.sleep(0.02)
        left = self.family()
        self.end()
        return len(left), time.monotonic() - begun

    def end(self) -> None:
        """Kill whatever is left of the session."""
        for pid in _session(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@contextmanager
def scheduler_elsewhere(folder: Path, **fault: str) -> Iterator[tuple[Screen, str]]:
    """A Dask scheduler and its workers in processes of their own; yields the scheduler and the file that names it."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    common = ["--no-dashboard", "--scheduler-file", str(file)]
    place = ["--host", "127.0.0.1"]
    scheduler = Screen.python(folder, ["-m", "dask", "scheduler", *common, *place, "--port", "0"])
    size = ["--nworkers", str(WORKERS), "--nthreads", "1", "--death-timeout", "5"]
    workers = Screen.python(folder, ["-m", "dask", "worker", *common, *place, *size], fault)
    try:
        scheduler.wait_for(file.exists)
        yield scheduler, str(file)
    finally:
        scheduler.end()
        workers.end()


WORKER = """
import pickle, random, sys
from screening.engine.block import Block
from screening.engine.pipeline import Assignment, screen_block
from screening.store import BlockReceipt, StoredRun
from screening.store.header import versions

url, receipts, blocks, seed = sys.argv[1:]
run = StoredRun.open(url)
assignment = Assignment(run.target, versions(), gpu=False)
numbers = [int(number) for number in blocks.split(",")]
random.Random(seed).shuffle(numbers)
done = [screen_block(assignment, Block(number, *run.header.bounds(number))) for number in numbers]
open(receipts, "wb").write(pickle.dumps(done))
"""


def screened_twice(folder: Path, run: Path, blocks: list[int]) -> list[BlockReceipt]:
    """Let two workers do the same blocks at the same time, each in an order of its own; all their receipts."""
    numbers = ",".join(map(str, blocks))
    files = [folder / f"receipts-{seed}" for seed in range(2)]
    pair = [
        Screen.python(folder, ["-c", WORKER, str(run), str(file), numbers, str(seed)])
        for seed, file in enumerate(files)
    ]
    for worker in pair:
        if worker.wait():
            raise RuntimeError(worker.said)
    return [receipt for file in files for receipt in pickle.loads(file.read_bytes())]


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command that is left alone until it ends."""
    screen = Screen.start(folder, list(arguments))
    return screen.wait(), screen.said


def noise(said: str) -> list[str]:
    """Lines of stderr that no user should see."""
    marks = ("Traceback", "distributed", "Exception", "  File ", "Warning", "asyncio", "tornado", "Task ")
    return [line for line in said.splitlines() if any(mark in line for mark in marks)]


def one_clear_line(said: str) -> bool:
    """Whether the last line is the error, and nothing before it is noise."""
    lines = said.splitlines()
    return not noise(said) and bool(lines) and lines[-1].startswith("screen: ")


def begun(log: Path) -> list[tuple[int, int]]:
    """(block, process) for each time that a worker began a block."""
    text = log.read_text() if log.exists() else ""
    return [(int(block), int(pid)) for block, pid in map(str.split, text.splitlines())]


def _session(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == leader and state not in "ZX":
                found.append(int(folder.name))
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
