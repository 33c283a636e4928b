r"""Candidates a second of whole screens, from the shell to the ranking, beside the published code in the same run.

throughput.py [--size 1e6] [--published CHECKOUT CHECKPOINT ATOM_INIT] [--memory 1e6,1e7,1e8]

1. The published predict.py (a clone of txie-93/cgcnn, run as it is) on the first ABX3 of a screen as CIFs.
2. `screen` on ABX3 with the first of castelli, ABX3 with all of them, A2BB'X6 with mp's three: no filter, the best
   20 shown; A2BB'X6 also with one worker, with a CSV of all candidates, ranked again, and with a cascade.
3. The stages of a block in this process, in seconds of a core, beside what bounds each: the float32 products of the
   networks at the speed of numpy's; compressing and hashing what is written; copying what is made.
4. With --memory: the most memory that the command and a worker hold in screens of which a filter leaves little, and
   what lies on the disk then.

Whole commands take turns; the least of the repeats counts, by the clock and in seconds of processors, those of workers
included. On a busy machine only the latter and their ratios mean something.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before numpy

import numpy as np
import psutil
from numcodecs.zstd import Zstd

from cgcnn.elements import SYMBOLS
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from screening.engine.block import Block
from screening.engine.score import build_block, infer_block, load_model
from screening.plan import make_plan
from screening.ranking.table import rank
from screening.recipe import make_recipe
from screening.store import StoredRun, write_block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from screening.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
ELEMENTS = [symbol for symbol in SYMBOLS[1:95] if symbol not in {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}]
ANIONS = ["O", "F", "Cl", "Br", "I", "S", "Se", "Te", "N", "H", "C", "P", "As", "B", "Sb", "Si"]
ANIONS += [symbol for symbol in ELEMENTS if symbol not in ANIONS]
CRYSTALS = 1000
zstd = Zstd(level=1).encode


@dataclass(frozen=True)
class Spent:
    """What a command took.

    Attributes:
        clock: Seconds.
        processor: Seconds of processors, of its children too.
        memory: Most MiB that it held itself, and most that one of its children held.
        said: What it wrote to stderr.
    """

    clock: float
    processor: float
    memory: tuple[float, float] = (0, 0)
    said: str = ""


@dataclass(frozen=True)
class Rate:
    """Candidates a second of the published code, by the clock and of a processor."""

    clock: float
    processor: float


def sites(kind: str, size: int, anions: int = 1) -> dict[str, list[str]]:
    """Elements of the sites of a space of at least so many candidates: all on A and B, and on X as many as it takes."""
    for count in range(1, len(ANIONS) + 1):
        chosen = {"a": ELEMENTS, "b": ELEMENTS, "x": ANIONS[:count]}
        if plan_of(kind, chosen, anions).candidates.count >= size:
            return chosen
    raise SystemExit(f"no space of {size:,} candidates")


def plan_of(kind: str, chosen: dict[str, list[str]], anions: int = 1) -> Plan:
    """The plan of a space of these sites, without filters."""
    model = "mp" if kind == "double-perovskites" else "castelli"
    further = {"anions": anions} if anions > 1 else {}
    return make_plan(make_recipe(kind=kind, model=model, no_filter=True, **chosen, **further))


def spend(command: list[object], folder: Path) -> Spent:
    """Run a command in a folder and say what it took."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    most = [0.0, 0.0]
    watch = threading.Thread(target=_watch, args=(process, most))
    watch.start()
    _, said = process.communicate()
    watch.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{said.decode()}")
    after, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(clock, used, (most[0], most[1]), said.decode())


def _watch(process: subprocess.Popen[bytes], most: list[float]) -> None:
    """Note the most memory of a process and of one of its children, MiB."""
    while process.poll() is None:
        try:
            parent = psutil.Process(process.pid)
            most[0] = max(most[0], parent.memory_info().rss / 2**20)
            children = [child.memory_info().rss / 2**20 for child in parent.children(recursive=True)]
            most[1] = max([most[1], *children])
        except psutil.Error:
            pass
        time.sleep(0.2)


def screen(kind: str, chosen: dict[str, list[str]], *options: object) -> list[object]:
    """The command of a screen."""
    named = [text for site, symbols in chosen.items() for text in (f"--{site}", ",".join(symbols))]
    return [sys.executable, "-m", "screening", kind, *named, "--out", "R.zarr", *options]


def run_whole(folder: Path, command: list[object], repeats: int) -> Spent:
    """The least of some repeats, each in a fresh folder."""
    runs = []
    for _ in range(repeats):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        runs.append(spend(command, folder))
    return Spent(
        min(run.clock for run in runs),
        min(run.processor for run in runs),
        (max(run.memory[0] for run in runs), max(run.memory[1] for run in runs)),
        runs[-1].said,
    )


def run_published(folder: Path, options: argparse.Namespace) -> Spent:
    """The published predict.py on ABX3 that a screen wrote as CIFs."""
    checkout, checkpoint, atom_init = (path.resolve() for path in options.published)
    chosen = sites("perovskites", CRYSTALS)
    spend(
        screen("perovskites", chosen, "--model", "castelli", "--no-filter", "--cif", "data", "--top", CRYSTALS), folder
    )
    shutil.copy(atom_init, folder / "data/atom_init.json")
    with (folder / "data/id_prop.csv").open("w", newline="") as file:
        csv.writer(file).writerows([path.stem, 0.0] for path in sorted((folder / "data").glob("*.cif")))
    command: list[object] = [options.python, "-W", "ignore", checkout / "predict.py", checkpoint, "data"]
    runs = [spend(command, folder) for _ in range(options.repeats)]
    return Spent(min(run.clock for run in runs), min(run.processor for run in runs), runs[0].memory)


def show(name: str, count: int, spent: Spent, base: Rate | None) -> None:
    """A line of the table."""
    ratios = [count / spent.clock / base.clock, count / spent.processor / base.processor] if base else []
    ratio = " | ".join([f"{ratio:,.0f}" for ratio in ratios] or ["", ""])
    print(
        f"| {name} | {count:,} | {spent.clock:.1f} | {spent.processor:.1f} | {count / spent.clock:,.0f} | "
        f"{count / spent.processor:,.0f} | {ratio} | {spent.memory[0]:.0f}, {spent.memory[1]:.0f} |",
        flush=True,
    )


def whole(folder: Path, options: argparse.Namespace, base: Rate | None) -> None:
    """The second part."""
    told: list[str] = []
    single = load("castelli")
    save(Model(single.card, single.members[:1], single.domain), folder / "one")
    single_path, double = str(folder / "one"), "double-perovskites"
    cases: list[tuple[str, str, str, int, tuple[object, ...]]] = [
        ("ABX3, one network, 2 workers", "perovskites", single_path, 2, ()),
        ("ABX3, all of castelli's, 2 workers", "perovskites", "castelli", 2, ()),
        ("A2BB'X6, mp's 3, 2 workers", double, "mp", 2, ()),
        ("the same, 1 worker", double, "mp", 1, ()),
        ("the same, 2 workers, CSV of all", double, "mp", 2, ("--csv", "R.csv")),
        ("the same, 2 workers, --cascade", double, "mp", 2, ("--cascade",)),
    ]
    for name, kind, model, workers, further in cases:
        chosen = sites(kind, min(options.size, len(ELEMENTS) ** 3) if kind == "perovskites" else options.size)
        count = plan_of(kind, chosen).candidates.count
        command = screen(kind, chosen, "--model", model, "--no-filter", "--workers", workers, *further)
        spent = run_whole(folder / "run", command, options.repeats)
        show(name, count, spent, base)
        if "--csv" in further:
            again = spend([sys.executable, "-m", "screening", "rank", "R.zarr", "--csv", "R.csv"], folder / "run")
            show("screen rank, CSV of all", count, again, None)
        if fitted := re.search(r"fitted in ([0-9.]+) s", spent.said):
            seconds = float(fitted[1])
            without = f"{count / (spent.clock - seconds):,.0f} a second without it"
            told.append(f"the fit took {seconds} s, {without}; {spent.said[spent.said.index('cascade by') :].strip()}")
    print("", *told, sep="\n")


def stages(folder: Path) -> None:
    """The third part, of A2BB'X6 with mp's three networks."""
    rows, kind = 65_536, "double-perovskites"
    plan = plan_of(kind, sites(kind, rows))
    model, found = load_model(plan), {}
    with StoredRun.create(str(folder / "stages.zarr"), plan.header(rows)) as run:
        found["decode, chemistry, domain, cells"], built = timed(lambda: build_block(plan, model, Block(0, 0, rows)))
        found["predict"], result = timed(lambda: infer_block(plan, model, built))
        found["write the block"], _ = timed(lambda: write_block(run.target, 0, result.columns))
    written = folder / "R.csv"
    found["rank and write as CSV"], _ = timed(
        lambda: rank(lambda: [(0, result.columns)], plan, spill=folder).write_csv(written)
    )
    lines = written.read_bytes()
    held = b"".join(np.ascontiguousarray(values).tobytes() for values in result.columns.values())
    limits = {
        "decode, chemistry, domain, cells": ("its columns copied", copied(held)),
        "predict": ("float32 products", rows * products(model.settings, len(load("mp").members), "double-perovskite")),
        "write the block": ("zstd and BLAKE2b of its bytes", timed(lambda: (zstd(held), blake2b(held)))[0]),
        "rank and write as CSV": ("its text copied", copied(lines)),
    }
    print("\n| stage | µs of a core a candidate | limit, µs | of what |\n| --- | --: | --: | --- |")
    for name, seconds in found.items():
        of, limit = limits[name]
        print(f"| {name} | {seconds / rows * 1e6:.2f} | {limit / rows * 1e6:.2f} | {of} |")


def copied(content: bytes) -> float:
    """Seconds of a core in which so many bytes are copied."""
    return timed(lambda: np.frombuffer(content, dtype=np.uint8).copy())[0]


def products(settings: object, members: int, prototype: str) -> float:
    """Seconds that a core takes at least for the float32 products of a candidate, at the speed that numpy reaches."""
    width, layers = settings.width, settings.layers  # type: ignore[attr-defined]
    one, other = np.ones((512, 512), np.float32), np.ones((512, 512), np.float32)
    seconds, _ = timed(lambda: [one @ other for _ in range(20)])
    speed = 20 * 2 * 512**3 / seconds
    nodes = len(PROTOTYPES[prototype].sites)
    return members * (layers - 1) * nodes * 2 * width * 4 * width / speed  # the first layer's are looked up by element


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """The least seconds of a core of nine times, and what the work gives."""
    seconds = []
    for _ in range(9):
        begun = time.process_time()
        given = work()
        seconds.append(time.process_time() - begun)
    return min(seconds), given


def memory(folder: Path, sizes: Iterator[int]) -> None:
    """The fourth part: ABX3 of mixed anions, of which the filter leaves what is made of the commonest elements."""
    print("\n| candidates | ok | s | s of processors | most MiB of the command | of a worker | run, MiB | its files |")
    print("| --: | --: | --: | --: | --: | --: | --: | --: |")
    for size in sizes:
        chosen = sites("perovskites", size, anions=3)
        extra = ("--anions", 3, "--model", "castelli", "--filter", "hhi=1100", "--workers", 2)
        spent = run_whole(folder / "run", screen("perovskites", chosen, *extra), 1)
        with StoredRun.open(str(folder / "run/R.zarr")) as run:
            ledger, rows = run.ledger(), run.header.rows
        if sum(ledger.values()) != rows or 0 in ledger:
            raise SystemExit(f"the ledger {ledger} does not add up to {rows}")
        files = [path for path in (folder / "run/R.zarr").rglob("*") if path.is_file()]
        took = f"{spent.clock:.1f} | {spent.processor:.1f} | {spent.memory[0]:.0f} | {spent.memory[1]:.0f}"
        held = f"{sum(path.stat().st_size for path in files) / 2**20:.1f} | {len(files)}"
        print(f"| {rows:,} | {ledger.get(1, 0):,} | {took} | {held} |", flush=True)


def main() -> None:
    """Print the tables with their conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=lambda text: int(float(text)), default=1_000_000, help="candidates, about")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--published", nargs=3, type=Path, metavar=("CHECKOUT", "CHECKPOINT", "ATOM_INIT"))
    parser.add_argument("--python", default=sys.executable, help="interpreter for the published code")
    parser.add_argument("--memory", default="", help="sizes of spaces, separated by commas")
    parser.add_argument("--memory-alone", action="store_true", help="leave out the second and third part")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} before, Python", end=" ")
    print(f"{platform.python_version()}, numpy {np.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        folder, base = Path(name), None
        heads = ("candidates", "s", "s of processors", "a second", "a processor second", "ratio by the clock")
        print("| |", " | ".join([*heads, "by processors", "MiB: command, worker"]), "|")
        print("| ---", *["| --:"] * 8, "|")
        if options.published:
            spent = run_published(folder, options)
            base = Rate(CRYSTALS / spent.clock, CRYSTALS / spent.processor)
            show("predict.py, ABX3 as CIFs", CRYSTALS, spent, base)
        if not options.memory_alone:
            whole(folder, options, base)
            stages(folder)
        if options.memory:
            memory(folder, (int(float(size)) for size in options.memory.split(",")))
        print(f"\nload {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
