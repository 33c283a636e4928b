"""Whose bytes are these: blocks that moved, headers of other runs, other versions, and runs made by someone else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cgcnn.errors import UserError
from screening.store import StoredRun, repair, verify
from screening.store import header as headers
from screening.store.header import DECISIVE, canonical, decisive

COPY = "status/manifest/header.json"
PART = "status/manifest/part-0000.jsonl"
ALL = ("species", "status", "e_above_hull", "in_domain")


@pytest.fixture
def run(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"))
    return tmp_path / "R.zarr"


@pytest.fixture
def other(toy, tmp_path):
    """Another run of the same space by the same model: only its time and its energies differ."""

    class Shifted(type(toy)):
        def rows(self, start, stop):
            rows = super().rows(start, stop)
            return rows | {"e_above_hull": rows["e_above_hull"] + 1}

    Shifted(toy.other(created="2026-02-02T00:00:00+00:00")).make(str(tmp_path / "other.zarr"))
    return tmp_path / "other.zarr"


def swap(one: Path, two: Path) -> None:
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)


def remade(root: bytes, change) -> bytes:
    """A header that somebody changed, with a digest that fits."""
    document = json.loads(root)
    change(document)
    document["attributes"]["digest"] = headers._digest(document)
    return canonical(document)


@pytest.mark.parametrize("column", ["e_above_hull", "species"])
def test_shards_swapped_between_blocks_are_not_read(run, column):
    tail = ".0" if column == "species" else ""
    swap(run / f"{column}/c.1{tail}", run / f"{column}/c.3{tail}")
    with pytest.raises(UserError, match=rf"block 1 is damaged \({column}/c\.1.*not what was committed.*--repair"):
        [dict(rows.columns) for rows in StoredRun.open(str(run)).blocks(["status", column])]
    with pytest.raises(UserError, match="block 3 is damaged"):
        StoredRun.open(str(run)).read([column], 60, 61)
    there = [dict(rows.columns) for rows in StoredRun.open(str(run)).blocks(["in_domain"])]
    assert len(there) == 5  # what is not read is not in the way


def test_a_shard_of_another_run_is_not_read(run, other):
    shutil.copy(other / "e_above_hull/c.2", run / "e_above_hull/c.2")
    with pytest.raises(UserError, match=r"block 2 is damaged \(e_above_hull/c\.2.*not what was committed"):
        StoredRun.open(str(run)).read(["e_above_hull"], 0, 95)
    assert [f.kind for f in verify(str(run)).findings] == ["damaged"]


def test_both_headers_of_another_run_are_noticed_and_nothing_is_dropped_for_them(run, other):
    for key in ("zarr.json", COPY):
        shutil.copy(other / key, run / key)
    before = (run / PART).read_bytes()
    report = verify(str(run))
    assert not report.ok
    assert "header: zarr.json: that of another run" in report.text()
    assert report.text().count("\n") == 2  # one finding, not one a line
    for attempt in (StoredRun.open, repair):
        with pytest.raises(UserError, match=r"header.* another run.*Restore zarr\.json"):
            attempt(str(run))
    assert (run / PART).read_bytes() == before


@pytest.mark.parametrize("key", ["zarr.json", COPY])
def test_the_header_that_the_manifest_names_is_the_good_one(toy, run, other, key):
    good = (run / key).read_bytes()
    shutil.copy(other / key, run / key)
    for attempt in (StoredRun.open, lambda url: StoredRun.resume(url, toy.header)):
        with pytest.raises(UserError, match=r"zarr\.json and .*header\.json are of two runs.*screen verify --repair"):
            attempt(str(run))
    report = verify(str(run))
    assert [(f.kind, f.where) for f in report.findings if f.kind == "header"] == [("header", key)]
    repair(str(run))
    assert (run / key).read_bytes() == good
    assert verify(str(run), toy.identity).ok


def test_two_sound_headers_and_no_line_to_tell_them_apart(toy, tmp_path, other):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(0))
    shutil.copy(other / COPY, Path(url) / COPY)
    for attempt in (verify, repair, StoredRun.open):
        with pytest.raises(UserError, match="are of two runs"):
            attempt(url)


def test_lines_of_another_run_are_named_and_dropped(toy, run, other):
    lines = (other / PART).read_bytes().splitlines(keepends=True)
    (run / "status/manifest/part-0001.jsonl").write_bytes(lines[0])
    with pytest.raises(UserError, match=r"line 1 of .*part-0001.jsonl is damaged .*another run"):
        StoredRun.open(str(run))
    assert "another run" in verify(str(run)).text()
    repair(str(run))
    assert verify(str(run), toy.identity).ok


def test_a_receipt_of_another_run_is_not_committed(toy, tmp_path, other):
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run, pytest.raises(ValueError, match="another run"):
        run.commit(toy.write(StoredRun.open(str(other)).target, 0))


def test_versions_that_decide_bits_are_in_the_header_and_named_when_they_differ(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    mine = toy.other(versions=decisive(), kernel="numpy 1")
    StoredRun.create(url, mine).close()
    assert set(DECISIVE) == set(StoredRun.open(url).header.versions)
    StoredRun.resume(url, mine).close()
    theirs = replace(mine, versions=decisive() | {"torch": "2.5.1"}, kernel="numpy 2")
    with pytest.raises(UserError) as refused:
        StoredRun.resume(url, theirs)
    said = str(refused.value)
    assert f"versions torch: the run has {decisive()['torch']}, you have 2.5.1" in said
    assert "kernel: the run has numpy 1, you have numpy 2" in said
    assert "other versions" in said
    StoredRun.resume(url, theirs, any_versions=True).close()
    with pytest.raises(UserError, match="model digest"):
        StoredRun.resume(url, replace(theirs, model_digest="xyz"), any_versions=True)


def test_blocks_of_other_versions_are_told_by_verify(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    type(toy)(toy.other(versions=decisive() | {"torch": "2.5.1"})).make(url)
    report = verify(url, toy.identity)
    assert report.ok
    assert f"versions: blocks: predicted with torch {decisive()['torch']}, begun with torch 2.5.1" in report.text()


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".", "UPPER", "x y", "e_above_hull\n"])
def test_a_run_whose_columns_name_places_elsewhere_is_no_run(toy, tmp_path, name):
    url = str(tmp_path / "deep/R.zarr")
    (tmp_path / "deep").mkdir()
    toy.make(url)

    def rename(document):
        columns = json.loads(document["attributes"]["columns"])
        columns[3]["name"] = name
        document["attributes"]["columns"] = headers.canonical(columns).decode()
        arrays = document["consolidated_metadata"]["metadata"]
        arrays[name] = arrays.pop("in_domain")

    def hide(document):
        document["consolidated_metadata"]["metadata"][name] = {}

    good = (Path(url) / "zarr.json").read_bytes()
    for change in (rename, hide):
        for key in ("zarr.json", COPY):
            (Path(url) / key).write_bytes(remade(good, change))
        before = sorted(tmp_path.rglob("*"))
        for attempt in (verify, repair, StoredRun.open):
            with pytest.raises(UserError, match="damaged"):
                attempt(url)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("what", ["species", "status/manifest", PART])
def test_repair_and_resume_write_through_no_link(toy, run, tmp_path, what):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(run / what, elsewhere)
    (run / what).symlink_to(elsewhere)
    kept = elsewhere / "zarr.json" if what == "species" else elsewhere
    if what == "species":
        kept.write_text("somebody else's")
    content = kept.read_bytes() if kept.is_file() else sorted(kept.iterdir())
    if what == PART:
        elsewhere.write_bytes(content[: content.rindex(b'{"block"')])  # a block to do
        content = elsewhere.read_bytes()
    if what == PART:
        repair(str(run))
    with pytest.raises(UserError, match="symbolic link"):
        toy.resume(str(run)) if what == PART else repair(str(run))
    assert (kept.read_bytes() if kept.is_file() else sorted(kept.iterdir())) == content


def test_a_manifest_that_cannot_be_read_is_one_line(run):
    (run / PART).unlink()
    (run / PART).mkdir()
    for attempt in (StoredRun.open, verify):
        with pytest.raises(UserError, match="Is a directory"):
            attempt(str(run))


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"block": 1', b"\xff\xfe{}", b"9" * 5000, b"null"])
def test_whatever_a_line_of_the_manifest_holds_it_is_a_damaged_line(run, line):
    (run / PART).write_bytes(line + b"\n")
    with pytest.raises(UserError, match=r"line 1 of .* is damaged"):
        StoredRun.open(str(run))
    assert not verify(str(run)).ok


@pytest.mark.parametrize("root", [b"[" * 100_000, b"[]", b'{"attributes": [1]}', b'{"attributes": null}', b"1"])
def test_whatever_a_header_holds_it_is_a_damaged_header(run, root):
    (run / "zarr.json").write_bytes(root)
    with pytest.raises(UserError, match="damaged header"):
        StoredRun.open(str(run))
    (run / COPY).write_bytes(root)
    with pytest.raises(UserError, match="both copies"):
        verify(str(run))


def test_more_blocks_than_memory_can_keep_track_of_is_one_line(toy, tmp_path):
    with pytest.raises(UserError, match=r"1000000000000000 blocks.*larger blocks"):
        StoredRun.create(str(tmp_path / "R.zarr"), toy.other(rows=10**15, block_rows=1))
    assert not (tmp_path / "R.zarr").exists()
