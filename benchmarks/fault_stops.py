"""Faults that stop processes: the command, its workers, a scheduler."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import faultlab
from fault_bench import SECONDS, Bench, Outcome, after_stop, finish
from faultlab import Screen, begun
from faultruns import committed


def kill_client(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGKILL of the command, at any moment from its start to its end."""
    return _stop_client(bench, rng, kills, lambda screen: screen.kill())


def terminate(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGTERM of the command."""
    return _stop_client(bench, rng, kills, lambda screen: os.kill(screen.process.pid, signal.SIGTERM), code=130)


def interrupt(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """Ctrl-C: SIGINT to the command and all its workers at once."""
    return _stop_client(bench, rng, kills, lambda screen: os.killpg(screen.process.pid, signal.SIGINT), code=130)


def kill_scheduler(bench: Bench, rng: random.Random, kills: int) -> Outcome:
    """SIGKILL of a scheduler in a process of its own, while the command uses its workers."""

    def attempt(run: Path, log: Path, outcome: Outcome) -> bool:
        with faultlab.scheduler_elsewhere(run.parent, FAULT_LOG=str(log)) as (scheduler, address):
            screen = bench.lab.start(run, "--cluster", address)
            screen.wait_for(lambda: "to do" in screen.said)
            time.sleep(rng.uniform(0, bench.life))
            if not screen.alive:
                return False
            scheduler.kill()
            outcome.faults += 1
            ended = _end(screen, outcome)
        outcome.check(ended in {0, 1}, f"exit {ended}: {screen.said}")
        outcome.check(ended == 0 or faultlab.one_clear_line(screen.said), f"stderr: {screen.said}")
        return True

    return _again_and_again(bench, kills, attempt)


def _stop_client(
    bench: Bench, rng: random.Random, kills: int, stop: Callable[[Screen], None], code: int | None = None
) -> Outcome:
    """Stop the command; with a code, it is to end by itself with that."""

    def attempt(run: Path, log: Path, outcome: Outcome) -> bool:
        screen = bench.lab.start(run, FAULT_LOG=str(log))
        if code is not None:  # before that Python's own answer to the signal holds
            screen.wait_for(lambda: screen.catches(signal.SIGTERM))
        time.sleep(rng.uniform(0, bench.life))
        if not screen.alive:
            return False
        stop(screen)
        outcome.faults += 1
        if code is not None:
            ended = _end(screen, outcome)
            outcome.check(ended in {code, 0}, f"exit {ended}, not {code}: {screen.said}")
            outcome.check(not faultlab.noise(screen.said), f"stderr: {screen.said}")
        left, took = screen.orphans()
        outcome.check(left == 0, f"{left} processes outlive the client")
        outcome.seconds = max(outcome.seconds, took)
        return True

    return _again_and_again(bench, kills, attempt)


def _again_and_again(bench: Bench, kills: int, attempt: Callable[[Path, Path, Outcome], bool]) -> Outcome:
    """Stop a run again and again until it ends before it is stopped, then another one.

    Args:
        bench: where.
        kills: how many in all.
        attempt: begins or goes on with a run, with a log of the blocks begun, and stops it; False if it had ended.
    """
    outcome = Outcome()
    while outcome.faults < kills:
        with bench.folder() as folder:
            run, log = folder / "R.zarr", folder / "log"
            while outcome.faults < kills:
                before = len(begun(log)), committed(run)
                if not attempt(run, log, outcome):
                    break
                after_stop(run, log, before, outcome)
            finish(bench, run, outcome)
    return outcome


def _end(screen: Screen, outcome: Outcome) -> int | None:
    """Wait until the command ends by itself, and note how long it took."""
    asked = time.monotonic()
    ended = screen.wait(SECONDS)
    outcome.seconds = max(outcome.seconds, time.monotonic() - asked)
    return ended


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
