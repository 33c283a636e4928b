"""A small seeded share of the campaign of benchmarks/faults.py: real faults in real runs of the real command."""

import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from screening.cli.commands import main
from screening.store import StoredRun, load_header, verify

sys.path.insert(0, str(Path(__file__).parents[1] / "faultlab"))
faultlab, faultruns = (importlib.import_module(name) for name in ("faultlab", "faultruns"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return faultlab.Lab.make(tmp_path_factory.mktemp("lab"), anions=2)


@pytest.fixture(scope="module")
def undisturbed(lab):
    run = lab.folder / "undisturbed.zarr"
    code, said = faultlab.command(lab.folder, *lab.arguments(run, workers=0))
    assert code == 0, said
    return run


@pytest.fixture
def start(lab):
    """Start the command; whatever it leaves behind is gone after the test."""
    with contextlib.ExitStack() as stack:

        def started(run, *more, **options):
            screen = lab.start(run, *more, **options)
            stack.callback(screen.end)
            return screen

        yield started


@pytest.fixture
def called(monkeypatch):
    """Run the command in this process; its exit code."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return call


def at_work(screen, run, blocks=2):
    """Wait until some blocks are committed."""
    assert screen.wait_for(lambda: len(faultruns.committed(run)) >= blocks), screen.said


def same(run, undisturbed):
    return verify(str(run)).ok and faultruns.compare(run, undisturbed).none


@pytest.mark.slow
def test_killed_client_leaves_no_process_and_resumes_to_the_same_bits(start, undisturbed, tmp_path):
    run, log = tmp_path / "R.zarr", tmp_path / "log"
    screen = start(run, FAULT_LOG=str(log))
    at_work(screen, run)
    screen.kill()
    left, _ = screen.orphans()
    assert left == 0
    assert faultruns.promised_but_absent(run) == 0
    assert len({block for block, _ in faultlab.begun(log)} - faultruns.committed(run)) <= 4
    again = start(run)
    assert again.wait() == 0, again.said
    assert same(run, undisturbed)


@pytest.mark.slow
def test_killed_workers_are_replaced_and_the_run_ends_well(start, undisturbed, tmp_path):
    run = tmp_path / "R.zarr"
    screen = start(run)
    at_work(screen, run, 1)
    os.kill(random.Random(5).choice(screen.workers()), signal.SIGKILL)  # noqa: S311  # a seed, no secret
    assert screen.wait() == 0, screen.said
    assert faultlab.noise(screen.said) == []
    assert same(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "working", "hanging up"])
def test_stopped_run_exits_130_and_says_how_to_go_on(start, tmp_path, moment):
    run = tmp_path / "R.zarr"
    screen = start(run)
    if moment == "working":
        at_work(screen, run)
        os.kill(screen.process.pid, signal.SIGTERM)
    elif moment == "hanging up":  # as the terminal closes, all its processes hear of it
        at_work(screen, run)
        os.killpg(screen.process.pid, signal.SIGHUP)
    else:  # Ctrl-C reaches every process of the terminal
        assert screen.wait_for(lambda: bool(screen.workers()))
        os.killpg(screen.process.pid, signal.SIGINT)
    assert screen.wait() == 130
    assert faultlab.noise(screen.said) == []
    assert "blocks are kept; the same command with --resume goes on from there" in screen.said
    assert screen.orphans()[0] == 0
    assert verify(str(run)).text().endswith("Resume the run: that does what is missing.")


@pytest.mark.slow
def test_flipped_bit_is_found_repaired_and_redone(start, called, undisturbed, tmp_path):
    run = shutil.copytree(undisturbed, tmp_path / "R.zarr")
    shard = sorted((run / "e_above_hull").glob("c.*"))[3]
    faultruns.flip(shard, 100, 3)
    assert called("rank", run) == 1
    assert [finding.kind for finding in verify(str(run)).findings] == ["damaged"]
    assert called("verify", run, "--repair") == 1
    again = start(run, workers=0)
    assert again.wait() == 0
    assert "1 of 25 blocks to do" in again.said
    assert same(run, undisturbed)


@pytest.mark.slow
def test_full_disk_ends_in_one_clear_line_and_the_run_goes_on_once_there_is_room(start, undisturbed, tmp_path):
    if not faultruns.can_mount(tmp_path):
        pytest.skip("this process may not mount a disk of its own")
    with faultruns.small_disk(tmp_path / "disk", 400_000) as resize:
        run = tmp_path / "disk" / "R.zarr"
        screen = start(run)
        assert screen.wait() == 1
        assert faultlab.one_clear_line(screen.said), screen.said
        assert "No space left on device" in screen.said
        assert faultruns.promised_but_absent(run) == 0
        resize(40_000_000)
        again = start(run, workers=0)
        assert again.wait() == 0, again.said
        assert same(run, undisturbed)


@pytest.mark.slow
def test_poisoned_block_fails_with_its_reason_and_no_other_does(start, undisturbed, tmp_path):
    run = tmp_path / "R.zarr"
    screen = start(run, workers=1, FAULT_RAISES="5")
    assert screen.wait() == 0, screen.said
    failed = [line for line in faultruns.lines(run) if line.failures]
    assert [(line.block, line.failures) for line in failed] == [(5, {"RuntimeError: poisoned": ((2560, 3072),)})]
    assert faultruns.compare(run, undisturbed).wrong == 512
    assert verify(str(run)).ok


@pytest.mark.slow
def test_two_workers_may_do_the_same_blocks_at_once(undisturbed, tmp_path):
    run = tmp_path / "R.zarr"
    with StoredRun.create(str(run), load_header(str(undisturbed))) as opened:
        for receipt in faultlab.screened_twice(tmp_path, run, list(opened.missing_blocks())):
            opened.commit(receipt)
    assert same(run, undisturbed)


@pytest.mark.slow
def test_lost_scheduler_ends_in_one_clear_line(start, tmp_path):
    run = tmp_path / "R.zarr"
    with faultlab.scheduler_elsewhere(tmp_path) as (scheduler, address):
        screen = start(run, "--cluster", address)
        at_work(screen, run, 1)
        scheduler.kill()
        assert screen.wait() == 1
    assert faultlab.one_clear_line(screen.said), screen.said
    assert "Go on with --resume" in screen.said
    assert 1 <= StoredRun.open(str(run)).n_committed < 25
