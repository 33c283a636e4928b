"""The kinds of faults that `faults.py` injects, one function for each; each is a trial that a seed determines."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faultlab
from faultlab import Lab, Screen, begun, committed, compare

from cgcnn.errors import UserError
from screening.cluster.settings import DEATHS
from screening.store import Run, load_header, load_records, verify

SECONDS = 400  # in which any command ends, on a busy machine too


@dataclass
class Outcome:
    """What trials of one kind came to.

    Attributes:
        faults: injected while there was something to disturb.
        lost: rows never written or never committed at the end.
        duplicated: rows that the manifest counts twice.
        wrong: rows with other bits than the undisturbed run at the end, or silently at any time.
        redone: blocks done again, for each kill.
        found: damages that `verify` named.
        harmless: damages that changed nothing that anyone reads.
        seconds: the longest that a process outlived its killed client, or a stopped command took to end.
        problems: whatever else was not as promised.
    """

    faults: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    redone: list[int] = field(default_factory=list)
    found: int = 0
    harmless: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add up two outcomes."""
        for name in ("faults", "lost", "duplicated", "wrong", "redone", "found", "harmless", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds = max(self.seconds, other.seconds)

    def check(self, holds: object, problem: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(problem)

    def end(self, run: Path | str, undisturbed: Path) -> None:
        """Prove a finished run, and compare it."""
        report = verify(str(run), space(str(run)))
        self.check(report.ok, report.text())
        self.compare(run, undisturbed)

    def compare(self, run: Path | str, undisturbed: Path) -> None:
        """Compare a finished run with an undisturbed one, bit for bit."""
        difference = compare(run, undisturbed)
        self.lost += difference.lost
        self.duplicated += difference.duplicated
        self.wrong += difference.wrong


@dataclass(frozen=True)
class Bench:
    """Where trials run.

    Attributes:
        lab: the command to disturb.
        undisturbed: a run that nothing happened to.
        life: seconds that it took.
    """

    lab: Lab
    undisturbed: Path
    life: float

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A place for one trial, gone after it."""
        path = self.lab.folder / f"trial-{os.getpid()}-{time.monotonic_ns()}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def space(url: str) -> Callable[[int, int], object] | None:
    """The candidates of rows, by the space of the run itself."""
    from screening.plan import from_header  # noqa: PLC0415

    try:
        return from_header(load_header(url), load_records(url)).identity
    except UserError:
        return None


def finish(bench: Bench, run: Path, outcome: Outcome) -> None:
    """Resume until the end, undisturbed, and compare."""
    screen = bench.lab.start(run)
    outcome.check(screen.wait(SECONDS) == 0, f"the last resume failed: {screen.said}")
    outcome.end(run, bench.undisturbed)


def after_stop(run: Path, log: Path, before: tuple[int, set[int]], outcome: Outcome) -> None:
    """What must hold once a client is gone; `before` is what the log and the manifest held when it began."""
    done = committed(run)
    outcome.redone.append(len({block for block, _ in begun(log)[before[0] :]} - done))
    outcome.check(before[1] <= done, "a committed block is committed no more")
    if run.exists():
        outcome.check(faultlab.promised_but_absent(run) == 0, "the manifest names a block that is not there")


def kill_client(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGKILL of the command, at any moment from its start to its end."""
    return _stop_client(bench, rng, kills, lambda screen: screen.kill())


def terminate(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGTERM of the command."""
    return _stop_client(bench, rng, kills, lambda screen: os.kill(screen.process.pid, signal.SIGTERM), code=130)


def interrupt(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """Ctrl-C: SIGINT to the command and all its workers at once."""
    return _stop_client(bench, rng, kills, lambda screen: os.killpg(screen.process.pid, signal.SIGINT), code=130)


def _stop_client(
    bench: Bench, rng: random.Random, kills: int, stop: Callable[[Screen], None], code: int | None = None
) -> Outcome:
    outcome = Outcome()
    while outcome.faults < kills:
        with bench.folder() as folder:
            run, log = folder / "R.zarr", folder / "log"
            while outcome.faults < kills:
                before = len(begun(log)), committed(run)
                screen = bench.lab.start(run, FAULT_LOG=str(log))
                if code is not None:  # before that Python's own answer to the signal holds
                    screen.wait_for(lambda screen=screen: screen.catches(signal.SIGTERM))
                time.sleep(rng.uniform(0, bench.life))
                if not screen.alive:
                    break
                stop(screen)
                outcome.faults += 1
                asked = time.monotonic()
                if code is not None:
                    ended = screen.wait(SECONDS)
                    outcome.seconds = max(outcome.seconds, time.monotonic() - asked)
                    outcome.check(ended in {code, 0}, f"exit {ended}, not {code}: {screen.said}")
                    outcome.check(not faultlab.noise(screen.said), f"stderr: {screen.said}")
                left, took = screen.orphans()
                outcome.check(left == 0, f"{left} processes outlive the client")
                outcome.seconds = max(outcome.seconds, took)
                after_stop(run, log, before, outcome)
            finish(bench, run, outcome)
    return outcome


def kill_worker(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGKILL of worker processes, one after the other, starting ones too; the command must end well by itself."""
    outcome = Outcome()
    while outcome.faults < kills:
        with bench.folder() as folder:
            run, log = folder / "R.zarr", folder / "log"
            screen, killed = bench.lab.start(run, FAULT_LOG=str(log)), []
            screen.wait_for(lambda screen=screen: bool(screen.workers()))
            while screen.alive and outcome.faults < kills:
                time.sleep(rng.uniform(0, bench.life / 3))
                with contextlib.suppress(IndexError, ProcessLookupError):
                    victim = rng.choice(screen.workers())
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
                    outcome.faults += 1
            ended = screen.wait(SECONDS)
            outcome.check(not faultlab.noise(screen.said), f"stderr: {screen.said}")
            outcome.redone += _redone_for_each(begun(log), killed)
            if ended:  # all died before the first was ready: the command says so, and is resumed
                outcome.check(ended == 1 and faultlab.one_clear_line(screen.said), f"exit {ended}: {screen.said}")
                finish(bench, run, outcome)
            else:
                outcome.end(run, bench.undisturbed)
    return outcome


def _redone_for_each(history: list[tuple[int, int]], killed: list[int]) -> list[int]:
    last, times = {}, dict.fromkeys(killed, 0)
    for block, process in history:
        if last.get(block) in times:
            times[last[block]] += 1
        last[block] = process
    return list(times.values())


def kill_scheduler(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGKILL of a scheduler in a process of its own, while the command uses its workers."""
    outcome = Outcome()
    while outcome.faults < kills:
        with bench.folder() as folder:
            run, log = folder / "R.zarr", folder / "log"
            while outcome.faults < kills:
                before = len(begun(log)), committed(run)
                with faultlab.scheduler_elsewhere(folder, FAULT_LOG=str(log)) as (scheduler, address):
                    screen = bench.lab.start(run, "--cluster", address)
                    screen.wait_for(lambda screen=screen: "to do" in screen.said)
                    time.sleep(rng.uniform(0, bench.life))
                    if not screen.alive:
                        break
                    scheduler.kill()
                    outcome.faults += 1
                    asked = time.monotonic()
                    ended = screen.wait(SECONDS)
                    outcome.seconds = max(outcome.seconds, time.monotonic() - asked)
                outcome.check(ended in {0, 1}, f"exit {ended}: {screen.said}")
                outcome.check(ended == 0 or faultlab.one_clear_line(screen.said), f"stderr: {screen.said}")
                after_stop(run, log, before, outcome)
            finish(bench, run, outcome)
    return outcome


def flip_bits(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """One bit turned, in any byte of any file of the run."""

    def turn(path: Path) -> str:
        byte, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        faultlab.flip(path, byte, bit)
        return f"bit {bit} of byte {byte}"

    return _damage(bench, rng, faults, turn)


def truncate(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A file cut off anywhere."""

    def cut(path: Path) -> str:
        size = rng.randrange(path.stat().st_size)
        faultlab.cut(path, size)
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
        with bench.folder() as folder, faultlab.small_disk(folder / "disk", 4096) as resize:
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
                    outcome.check(faultlab.promised_but_absent(run) == 0, "a block in the manifest is not there")
            resize(need * 4)
            finish(bench, run, outcome)
    return outcome


def read_only(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A directory that becomes read-only at work, or is from the start."""
    outcome = Outcome()
    while outcome.faults < faults:
        with bench.folder() as folder, faultlab.small_disk(folder / "disk", 1 << 26):
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


def duplicate_workers(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """Two workers that do the same blocks at the same time, in different orders; all receipts are committed."""
    outcome = Outcome()
    with bench.folder() as folder:
        run = folder / "R.zarr"
        shutil.copytree(bench.undisturbed, run)
        (run / "status" / "manifest" / "part-0000.jsonl").unlink()
        with Run.resume(str(run), load_header(str(run))) as opened:
            blocks = list(opened.missing_blocks())[:faults]
            receipts = faultlab.screened_twice(folder, run, blocks)
            rng.shuffle(receipts)
            for receipt in receipts:
                opened.commit(receipt)
        outcome.faults += len(blocks)
        finish(bench, run, outcome)
    return outcome


def poison(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A block that always raises: its rows fail with the reason, and the run ends well."""
    return _lost_block(bench, rng, faults, "FAULT_RAISES", "RuntimeError: poisoned")


def deadly(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A block that ends every process that works on it."""
    return _lost_block(bench, rng, faults, "FAULT_DEADLY", f"{DEATHS} workers died on this block alone")


def _lost_block(bench: Bench, rng: random.Random, faults: int, how: str, reason: str) -> Outcome:
    outcome = Outcome()
    for _ in range(faults):
        with bench.folder() as folder:
            run = folder / "R.zarr"
            block = rng.randrange(len(committed(bench.undisturbed)))
            screen = bench.lab.start(run, **{how: str(block)})
            outcome.check(screen.wait(SECONDS) == 0, f"not exit 0: {screen.said}")
            outcome.faults += 1
            receipt = next(line for line in faultlab.lines(run) if line.block == block)
            outcome.check(receipt.failures == {reason: ((receipt.start, receipt.stop),)}, f"{receipt}")
            outcome.check(verify(str(run), space(str(run))).ok, "verify finds something")
            found, expected = faultlab.arrays(run), faultlab.reference(bench.undisturbed)
            rows = [*range(receipt.start), *range(receipt.stop, len(expected["status"]))]
            different = sum((found[name][rows].tobytes() != expected[name][rows].tobytes()) for name in expected)
            outcome.check(not different, "other blocks are touched")
            outcome.wrong += different
    return outcome


def jump_clock(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """A clock that jumps, years ahead or seconds back, while the command runs."""
    outcome = Outcome()
    while outcome.faults < faults:
        with bench.folder() as folder:
            run, clock, offset = folder / "R.zarr", folder / "clock", 0.0
            clock.write_text("0")
            screen = bench.lab.start(run, FAULT_CLOCK=str(clock))
            for _ in range(min(5, faults - outcome.faults)):
                time.sleep(rng.uniform(0, bench.life / 4))
                offset += rng.choice([rng.uniform(3600, 1e8), rng.uniform(-3, -0.1)])
                clock.write_text(str(offset))
                outcome.faults += 1
            outcome.check(screen.wait(SECONDS) == 0, f"not exit 0: {screen.said}")
            outcome.end(run, bench.undisturbed)
    return outcome
