"""Real faults in real runs, and what they cost: nothing may be lost, doubled or silently wrong.

python benchmarks/faults.py [--seed 0] [--kind kill-client,flip-bits] [--scale 0.1]

Each trial disturbs `python -m screening perovskites …`, lets it go on with --resume, and compares every bit of every
array with an undisturbed run, after `screen verify`'s own proof. Exit 1 if anything is not as promised.
"""

import argparse
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "screening" / "faultlab")]

import fault_blocks as blocks  # noqa: E402  # after the path
import fault_disks as disks  # noqa: E402
import fault_stops as stops  # noqa: E402
from fault_bench import Bench, Outcome  # noqa: E402
from faultlab import SLOW, WORKERS, Lab  # noqa: E402
from faultruns import can_mount  # noqa: E402

from screening.cluster.scheduler import WAITING  # noqa: E402

Trial = Callable[[Bench, random.Random, int], Outcome]

CAMPAIGN: dict[str, tuple[Trial, int, int]] = {  # what it does, how many faults in all, how many in one trial
    "kill-client": (stops.kill_client, 60, 6),
    "kill-worker": (stops.kill_worker, 125, 13),
    "kill-scheduler": (stops.kill_scheduler, 15, 5),
    "sigterm": (stops.terminate, 10, 5),
    "ctrl-c": (stops.interrupt, 10, 5),
    "flip-bits": (disks.flip_bits, 200, 25),
    "truncate": (disks.truncate, 50, 25),
    "delete-files": (disks.delete, 20, 20),
    "full-disk": (disks.fill_disk, 20, 5),
    "read-only": (disks.read_only, 4, 4),
    "two-workers-a-block": (blocks.duplicate_workers, 42, 42),
    "block-that-raises": (blocks.poison, 2, 2),
    "block-that-kills": (blocks.deadly, 1, 1),
    "clock-jumps": (blocks.jump_clock, 10, 5),
}
NEED_MOUNT = ("full-disk", "read-only")
IN_FLIGHT = WAITING * WORKERS


def main() -> None:
    """Run the campaign, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default=",".join(CAMPAIGN), help="some of them, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the faults of each kind, at least one")
    parser.add_argument("--lanes", type=int, default=len(os.sched_getaffinity(0)), help="trials at the same time")
    wanted = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(Path(folder))
        names = wanted.kind.split(",")
        if not can_mount(Path(folder)):
            say(f"left out, for this process may not mount a disk: {', '.join(NEED_MOUNT)}")
            names = [name for name in names if name not in NEED_MOUNT]
        outcomes, seconds = campaign(bench, names, wanted.seed, wanted.scale, wanted.lanes)
    print(conditions(bench))
    print(table(outcomes, seconds))
    say(f"{time.monotonic() - begun:.0f} s in all")
    problems = [f"{name}: {problem}" for name, outcome in outcomes.items() for problem in judged(outcome)]
    say("\n".join(problems) or "everything as promised")
    sys.exit(bool(problems))


def prepare(folder: Path) -> Bench:
    """A model, and a run that nothing happens to."""
    lab, undisturbed = Lab.make(folder, SLOW), folder / "undisturbed.zarr"
    begun = time.monotonic()
    screen = lab.start(undisturbed)
    if screen.wait():
        raise SystemExit(screen.said)
    return Bench(lab, undisturbed, time.monotonic() - begun)


def campaign(
    bench: Bench, names: list[str], seed: int, scale: float, lanes: int
) -> tuple[dict[str, Outcome], dict[str, float]]:
    """All trials, some at the same time; what each kind came to, and its seconds."""
    outcomes, seconds = {name: Outcome() for name in names}, dict.fromkeys(names, 0.0)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(lanes, mp_context=context) as pool:
        waiting: dict[Future[tuple[Outcome, float]], str] = {}
        for name in names:
            _, faults, each = CAMPAIGN[name]
            total = max(1, round(faults * scale))
            for first in range(0, total, each):
                task = (bench, name, f"{seed} {name} {first}", min(each, total - first))
                waiting[pool.submit(trial, *task)] = name
        for done, future in enumerate(as_completed(waiting), start=1):
            name = waiting[future]
            outcome, took = future.result()
            outcomes[name].add(outcome)
            seconds[name] += took
            say(f"{done} of {len(waiting)} trials: {name}, {outcome.faults} faults in {took:.0f} s")
    return outcomes, seconds


def trial(bench: Bench, name: str, seed: str, faults: int) -> tuple[Outcome, float]:
    """One trial, in a process of its own; whatever goes wrong with it is a problem of its kind."""
    begun = time.monotonic()
    try:
        outcome = CAMPAIGN[name][0](bench, random.Random(seed), faults)  # noqa: S311  # no secret
    except Exception as error:  # noqa: BLE001  # the other trials go on
        outcome = Outcome(problems=[f"{seed}: {type(error).__name__}: {error}"])
    return outcome, time.monotonic() - begun


def judged(outcome: Outcome) -> list[str]:
    """All that is not as promised."""
    zero = {"lost": outcome.lost, "duplicated": outcome.duplicated, "silently wrong": outcome.wrong}
    wrong = [f"{count} rows {what}" for what, count in zero.items() if count]
    many = max(outcome.redone, default=0)
    return outcome.problems + wrong + ([f"{many} blocks redone after one kill"] if many > IN_FLIGHT else [])


def table(outcomes: dict[str, Outcome], seconds: dict[str, float]) -> str:
    """The figures, in Markdown."""
    head = "kind|faults|rows lost|rows duplicated|rows wrong|blocks redone a kill: mean, max|found, harmless|s"
    lines = [head, "|".join(["---"] + ["--:"] * head.count("|"))]
    for name, one in outcomes.items():
        redone = f"{sum(one.redone) / len(one.redone):.2f}, {max(one.redone)}" if one.redone else ""
        found = f"{one.found}, {one.harmless}" if one.found + one.harmless else ""
        cells = [name, one.faults, one.lost, one.duplicated, one.wrong, redone, found, f"{seconds[name]:.0f}"]
        lines.append("|".join(map(str, cells)))
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in lines)


def conditions(bench: Bench) -> str:
    """What the figures depend on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("dask", "zarr", "torch"))
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}"
    return f"{machine}; 42 blocks of 512, {WORKERS} workers, {IN_FLIGHT} in flight; undisturbed {bench.life:.0f} s"


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
