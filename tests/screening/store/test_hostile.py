"""Runs that somebody prepared: what is no regular file is refused, and no line makes a command write for ever."""

import json
import os
import sys

import pytest

from cgcnn.errors import UserError
from screening import cli
from screening.store import StoredRun
from screening.store.manifest import _crc, canonical

SCREEN = ("perovskites", "--a", "Ca,Sr,Ba", "--b", "Ti,Zr", "--x", "O", "--no-filter")


@pytest.fixture
def screen(monkeypatch, capsys):
    """Run the command in this process; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def run(tmp_path, screen, model_path):
    """A small run."""
    place = tmp_path / "R.zarr"
    assert screen(*SCREEN, "--model", model_path, "--out", place)[0] == 0
    return place


def first_shard(run):
    return next((run / "e_above_hull").glob("c.*"))


FILES = {
    "shard": first_shard,
    "header": lambda run: run / "zarr.json",
    "manifest": lambda run: next(run.rglob("part-*.jsonl")),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("which", FILES)
@pytest.mark.parametrize("kind", ["FIFO", "link to /dev/zero", "link to a FIFO"])
def test_what_is_no_regular_file_is_neither_waited_for_nor_read(which, kind, run, screen, tmp_path):
    path = FILES[which](run)
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link to /dev/zero":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    for command in (("rank", run), ("verify", run), ("status", run)):
        code, _, said = screen(*command)
        assert "Traceback" not in said
        assert code == 1 or command[0] == "status"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"failures": {"no": [[0, 10**15]]}}, "failures of rows 0 to 1000000000000000"),
        ({"failures": {"no": [[0, 2], [1, 3]]}}, "failures of rows 1 to 3"),
        ({"failures": {"no": [[0, 1]]}}, "reasons for 1 failures"),
        ({"counts": {"1": 7, "2": -1}}, "a count below 0"),
    ],
)
def test_a_line_that_says_more_than_its_block_holds_is_refused(change, reason, run):
    path = FILES["manifest"](run)
    record = {**json.loads(path.read_bytes()), **change}
    record.pop("crc")
    path.write_bytes(canonical({**record, "crc": _crc(record)}) + b"\n")
    with pytest.raises(UserError, match=reason), StoredRun.open(str(run)):
        pass


ODD = "\x1b[31mred\x07\u202e[bold]x[/bold]"


def test_foreign_text_reaches_the_terminal_as_escapes_alone(run, screen, tmp_path):
    odd = tmp_path / f"R{ODD.replace('/', '')}.zarr"
    run.rename(odd)
    (odd / "stray.txt").write_text("")
    none = tmp_path / f"none{ODD.replace('/', '')}"
    for command in (("status", odd), ("rank", odd), ("verify", odd), ("rank", none)):
        _, *streams = screen(*command)
        for text in streams:
            assert not set(text) & {"\x1b", "\x07", "\u202e"}, command
