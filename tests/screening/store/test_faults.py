"""Killed clients, killed workers and full disks: a small seeded share of what happens to long runs."""

import random
import signal
import time
from pathlib import Path

import pytest

from cgcnn.errors import UserError
from screening.store import StoredRun, verify
from screening.store.place import LocalPlace, open_place

CLIENT = """
from screening.store import StoredRun, exists
import time
url = sys.argv[1]
print("up", flush=True)
with (StoredRun.resume if exists(url) else StoredRun.create)(url, toy.header) as run:
    for block in run.missing_blocks():
        run.commit(toy.write(run.target, block))
        time.sleep(0.02)
print("done", flush=True)
"""

FULL = """
from cgcnn.errors import UserError
from screening.store import StoredRun
import resource
with StoredRun.resume(sys.argv[1], toy.header) as run:
    receipt = toy.write(run.target, 1)
    size = run.place.root.joinpath("status/manifest/part-0000.jsonl").stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for attempt, room in ((lambda: run.commit(receipt), size + 50), (lambda: toy.write(run.target, 2), 60)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # enough for a piece of it
        try:
            attempt()
        except UserError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(list(run.missing_blocks()))
    toy.finish(run)
"""


@pytest.mark.slow
def test_client_killed_at_random_moments_loses_nothing(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    moments = random.Random(3)  # noqa: S311  # a seed, no secret
    for _ in range(5):
        client = python(CLIENT, url)
        assert client.stdout.readline() == "up\n"
        time.sleep(moments.uniform(0.0, 0.7))  # importing zarr, creating, writing, committing
        client.send_signal(signal.SIGKILL)
        client.wait()
    client = python(CLIENT, url)
    out, error = client.communicate()
    assert out == "up\ndone\n", error
    assert toy.same(url)
    report = verify(url, toy.identity)
    assert report.ok, report.text()


@pytest.mark.slow
def test_a_line_that_does_not_fit_on_the_disk_is_cut_off_again(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(1))
    out, error = python(FULL, url).communicate()
    lines = out.splitlines()
    assert len(lines) == 3, error
    assert all("File too large" in line and "`resume`" in line for line in lines[:2])
    assert lines[2] == "[1, 2, 3, 4]"
    assert toy.same(url)
    assert verify(url).findings == ()


def test_stopped_writer_leaves_no_shard_in_place(toy, tmp_path, monkeypatch):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:

        def stop(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("screening.store.place.os.fsync", stop)
            with pytest.raises(UserError, match="Input/output error"):
                toy.write(run.target, 0)
        assert not list(Path(url).glob("*/c.*"))
        assert not list(Path(url).rglob("*.partial"))
        toy.finish(run)
    assert verify(url).ok


def test_shards_are_on_disk_before_they_are_in_place(toy, tmp_path, monkeypatch):
    """Sync the data, rename, sync the directory: in any other order a power cut can leave an empty shard."""
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:
        seen: list[tuple[str, bool]] = []
        real = Path.replace
        synced: set[str] = set()

        def sync(path: Path) -> None:
            synced.add(path.name)

        def replace(path: Path, target: Path) -> Path:
            seen.append((path.name, path.name in synced))
            return real(path, target)

        monkeypatch.setattr("screening.store.place._sync", sync)
        monkeypatch.setattr(Path, "replace", replace)
        toy.write(run.target, 0)
    assert len(seen) == 4
    assert all(first for _, first in seen)
    assert {"species", "status", "e_above_hull", "in_domain"} <= synced


def test_manifest_that_vanished_means_that_nothing_is_committed(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    toy.make(url)
    open_place(url).delete("status/manifest/part-0000.jsonl")
    assert not verify(url).ok
    assert toy.resume(url) == 5
    assert toy.same(url)


@pytest.mark.parametrize("tail", [b"", b"torn"])
def test_log_keeps_whole_lines_in_order(tmp_path, tail):
    place = LocalPlace(tmp_path)
    for number in range(3):
        place.append("log", f"{number}\n".encode())
    with (tmp_path / "log").open("ab") as handle:
        handle.write(tail)
    assert list(place.lines("log")) == [b"0\n", b"1\n", b"2\n", *([tail] if tail else [])]
    place.replace_log("log", (line for line in place.lines("log") if line != b"1\n" and line.endswith(b"\n")))
    assert list(place.lines("log")) == [b"0\n", b"2\n"]
    assert [p.name for p in tmp_path.iterdir()] == ["log"]
