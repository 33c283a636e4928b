"""Faults of what lies on a disk, and of disks."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import faultlab
import faultruns
from fault_bench import SECONDS, Bench, Outcome, finish, space
from faultlab import Screen
from faultruns import committed

from cgcnn.errors import UserError
from screening.store import verify


def flip_bits(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """One bit turned, in any byte of any file of the run."""

    def turn(path: Path) -> str:
        byte, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        faultruns.flip(path, byte, bit)
        return f"bit {bit} of byte {byte}"

    return _damage(bench, rng, faults, turn)


def truncate(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A file cut off anywhere."""

    def cut(path: Path) -> str:
        size = rng.randrange(path.stat().st_size)
        faultruns.cut(path, size)
        return f"cut to {size} bytes"

    return _damage(bench, rng, faults, cut)


def delete(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A file deleted; shards mostly."""

    def remove(path: Path) -> str:
        path.unlink()
        return "deleted"

    return _damage(bench, rng, faults, remove)


def _damage(bench: Bench, rng: random.Random, faults: int, harm: Callable[[Path], str]) -> Outcome:
    """Each damage alone must be found or be harmless; then some together are mended, resumed and compared."""
    outcome = Outcome()
    with bench.folder() as folder:
        run, kept = folder / "R.zarr", folder / "kept"
        while outcome.faults < faults:
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(bench.undisturbed, run)
            victims = _victims(run, rng, min(25, faults - outcome.faults))
            for path in victims:
                shutil.copy2(path, kept)
                what = f"{path.relative_to(run)}: {harm(path)}"
                _judge(run, bench, what, outcome)
                shutil.move(kept, path)
            for path in victims:
                harm(path)
            screen = Screen.start(folder, ["verify", str(run), "--repair"])
            outcome.check(screen.wait(SECONDS) == 1, f"verify --repair: {screen.said}")
            finish(bench, run, outcome)
    return outcome


def _judge(run: Path, bench: Bench, what: str, outcome: Outcome) -> None:
    """Whether one damage is found by verify; if not, it must be harmless to whoever reads."""
    outcome.faults += 1
    try:
        found = not verify(str(run), space(str(run))).ok
    except UserError:
        found = True
    if found:
        outcome.found += 1
        return
    before = outcome.lost, outcome.wrong, outcome.duplicated
    outcome.compare(run, bench.undisturbed)
    if (outcome.lost, outcome.wrong, outcome.duplicated) == before:
        outcome.harmless += 1
    outcome.check(False, f"not found: {what}")  # noqa: FBT003


def _victims(run: Path, rng: random.Random, count: int) -> list[Path]:
    """Files to damage: half of them shards, half of them not; never both copies of the header."""
    shards = sorted(path for path in run.rglob("c.*") if path.is_file())
    manifest = run / "status" / "manifest"
    header = rng.choice([run / "zarr.json", manifest / "header.json"])
    others = [*sorted(run.glob("*/zarr.json")), manifest / "part-0000.jsonl", header]
    few = min(len(others), count // 2)
    return [*rng.sample(shards, count - few), *rng.sample(others[:-2], max(few - 2, 0)), *others[-2:][:few]]


def fill_disk(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A disk that is full at any stage, then has room again."""
    outcome = Outcome()
    need = sum(path.stat().st_size + 4096 for path in bench.undisturbed.rglob("*"))
    while outcome.faults < faults:
        with bench.folder() as folder, faultruns.small_disk(folder / "disk", 4096) as resize:
            run = folder / "disk" / "R.zarr"
            for size in sorted(rng.randrange(8192, int(need * 0.6)) for _ in range(min(5, faults - outcome.faults))):
                resize(size)
                screen = bench.lab.start(run)
                ended = screen.wait(SECONDS)
                if ended == 0:  # there was room enough
                    break
                outcome.faults += 1
                outcome.check(ended == 1 and faultlab.one_clear_line(screen.said), f"exit {ended}: {screen.said}")
                outcome.check("No space left" in screen.said, f"stderr: {screen.said}")
                if run.exists():
                    outcome.check(faultruns.promised_but_absent(run) == 0, "a block in the manifest is not there")
            resize(need * 4)
            finish(bench, run, outcome)
    return outcome


def read_only(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A directory that becomes read-only at work, or is from the start."""
    outcome = Outcome()
    while outcome.faults < faults:
        with bench.folder() as folder, faultruns.small_disk(folder / "disk", 1 << 26):
            run = folder / "disk" / "R.zarr"
            screen = bench.lab.start(run)
            if outcome.faults % 2:
                mark = rng.randrange(1, 20)
                screen.wait_for(lambda run=run, mark=mark: len(committed(run)) >= mark)
            if screen.wait_for(lambda folder=folder: _remount(folder / "disk", "ro")):
                outcome.faults += 1
                ended = screen.wait(SECONDS)
                outcome.check(ended == 1 and faultlab.one_clear_line(screen.said), f"exit {ended}: {screen.said}")
                outcome.check("Read-only file system" in screen.said, f"stderr: {screen.said}")
                _remount(folder / "disk", "rw")
            screen.wait(SECONDS)
            finish(bench, run, outcome)
    return outcome


def _remount(folder: Path, how: str) -> bool:
    """Whether it worked; not while a file is open for writing."""
    return (
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], capture_output=True, check=False).returncode == 0
    )
