"""Faults of single blocks, and of the clock."""

import random
import shutil
import time

import faultlab
import faultruns
from fault_bench import SECONDS, Bench, Outcome, finish, space
from faultruns import committed

from screening.cluster.scheduler import DEATHS
from screening.store import StoredRun, load_header, verify


def duplicate_workers(bench: Bench, rng: random.Random, faults: int) -> Outcome:
    """Two workers that do the same blocks at the same time, in different orders; all receipts are committed."""
    outcome = Outcome()
    with bench.folder() as folder:
        run = folder / "R.zarr"
        shutil.copytree(bench.undisturbed, run)
        (run / "status" / "manifest" / "part-0000.jsonl").unlink()
        with StoredRun.resume(str(run), load_header(str(run))) as opened:
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
            receipt = next(line for line in faultruns.lines(run) if line.block == block)
            outcome.check(receipt.failures == {reason: ((receipt.start, receipt.stop),)}, f"{receipt}")
            outcome.check(verify(str(run), space(str(run))).ok, "verify finds something")
            found, expected = faultruns.arrays(run), faultruns.reference(bench.undisturbed)
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
