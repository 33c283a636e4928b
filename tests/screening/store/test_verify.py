"""Damage of every kind is found, mended by repair and resume, and ends in the same bits."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.store import StoredRun, repair, verify, write_block
from screening.store.header import array_documents
from screening.store.manifest import from_line, to_line
from screening.store.shard import decode

PART = "status/manifest/part-0000.jsonl"
COPY = "status/manifest/header.json"


@pytest.fixture(scope="module", autouse=True)
def _no_sync():
    """Hundreds of runs are made here, and no power is cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("screening.store.place.os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def finished(toy, tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "R.zarr"
    toy.make(str(path))
    return path


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(finished, tmp_path / "R.zarr"))


def mended(toy, path: Path) -> bool:
    """Whether verify finds something wrong, and repair and resume bring back the undisturbed run."""
    assert not verify(str(path), toy.identity).ok
    repair(str(path), toy.identity)
    toy.resume(str(path))
    return verify(str(path), toy.identity).ok and toy.same(str(path))


def files_of(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def kinds(path: Path) -> set[str]:
    return {finding.kind for finding in verify(str(path)).findings}


@settings(deadline=None, derandomize=True, max_examples=20)
@given(data=st.data())
def test_any_flipped_bit_is_found_and_mended(toy, finished, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(finished, Path(folder) / "R.zarr"))
        victim = path / data.draw(st.sampled_from(files_of(path)))
        content = bytearray(victim.read_bytes())
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
        victim.write_bytes(content)
        assert mended(toy, path)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(data=st.data())
def test_any_truncated_or_deleted_file_is_found_and_mended(toy, finished, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copytree(finished, Path(folder) / "R.zarr"))
        victim = path / data.draw(st.sampled_from(files_of(path)))
        size = data.draw(st.integers(-1, victim.stat().st_size - 1))
        victim.write_bytes(victim.read_bytes()[:size]) if size >= 0 else victim.unlink()
        assert mended(toy, path)


def test_only_the_damaged_block_is_done_again(toy, damaged):
    (damaged / "e_above_hull/c.3").write_bytes(b"")
    report = verify(str(damaged))
    assert [(f.kind, f.where) for f in report.findings] == [("damaged", "block 3 (rows 60 to 80)")]
    assert "e_above_hull/c.3" in report.text()
    assert "screen verify --repair" in report.text()
    report = repair(str(damaged))
    assert not report.ok
    assert report.text().endswith("Resume the run: that does what is missing.")
    assert toy.resume(str(damaged)) == 1


def test_reading_a_damaged_block_is_refused(damaged):
    (damaged / "e_above_hull/c.3").write_bytes(b"")
    (damaged / "species/c.1.0").unlink()
    run = StoredRun.open(str(damaged))
    with pytest.raises(UserError, match=r"block 3 is damaged \(e_above_hull/c\.3.*screen verify --repair"):
        run.read(["e_above_hull"], 0, 95)
    with pytest.raises(UserError, match=r"block 1 is damaged \(species/c\.1\.0 is missing\)"):
        [dict(rows.columns) for rows in run.blocks(["species"])]


def test_swapped_shards_are_found(toy, damaged):
    one, two = damaged / "in_domain/c.1", damaged / "in_domain/c.2"
    one.rename(damaged / "x")
    two.rename(one)
    (damaged / "x").rename(two)
    report = verify(str(damaged))
    assert [f.where for f in report.findings if f.wrong] == ["block 1 (rows 20 to 40)", "block 2 (rows 40 to 60)"]
    assert mended(toy, damaged)


def test_rows_that_are_not_their_candidates_are_found(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:
        rows = toy.rows(0, 20) | {"species": np.ones((20, 5), np.uint8)}
        run.commit(write_block(run.target, 0, rows, failures=dict.fromkeys((3, 10, 17), "bad")))
        toy.finish(run)
    assert verify(url).ok
    (finding,) = verify(url, toy.identity).findings
    assert (finding.kind, finding.what) == ("damaged", "its species is not that of the candidates of these rows")
    assert mended(toy, tmp_path / "R.zarr")


def test_missing_blocks_are_listed_as_ranges(toy, url):
    toy.make(url, range(1, 2))
    report = verify(url)
    found = [str(f) for f in report.findings]
    assert found == [
        "missing: block 0 (rows 0 to 20): not committed",
        "missing: blocks 2 to 4 (rows 40 to 95): not committed",
    ]
    assert report.text().endswith("Resume the run: that does what is missing.")
    assert (report.sound, report.blocks, sum(report.ledger.values())) == (1, 5, 95)


def test_blocks_outside_the_run_and_leftovers_are_named_and_removed(toy, damaged):
    shutil.copy(damaged / "status/c.1", damaged / "status/c.77")
    (damaged / "species/.c.1.0.abc.partial").write_bytes(b"half")
    (damaged / "notes.txt").write_text("mine")
    (damaged / "status/manifest/mine.txt").write_text("mine")
    found = {(f.kind, f.where, f.wrong) for f in verify(str(damaged)).findings}
    assert found == {
        ("foreign", "status/c.77", True),
        ("leftover", "species/.c.1.0.abc.partial", False),
        ("unknown", "notes.txt", False),
        ("unknown", "status/manifest/mine.txt", False),
    }
    assert "status/c.77" in repair(str(damaged)).text()
    assert kinds(damaged) == {"unknown"}
    assert (damaged / "notes.txt").read_text() == "mine"
    assert toy.same(str(damaged))


def test_uncommitted_shards_are_named_once_a_block(toy, tmp_path):
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run:
        toy.write(run.target, 2)
        toy.write(run.target, 3)
    where = [f.where for f in verify(str(tmp_path / "R.zarr")).findings if f.kind == "uncommitted"]
    assert where == ["blocks 2 to 3"]


def test_torn_last_line_is_repaired_by_resume(toy, damaged):
    part = damaged / PART
    part.write_bytes(part.read_bytes()[:-30])
    assert StoredRun.open(str(damaged)).n_committed == 4
    assert {(f.kind, f.wrong) for f in verify(str(damaged)).findings} >= {("manifest", False), ("missing", True)}
    assert toy.resume(str(damaged)) == 1
    assert toy.same(str(damaged))
    assert verify(str(damaged)).findings == ()


def test_malformed_inner_line_is_refused_naming_line_and_remedy(toy, damaged):
    part = damaged / PART
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join([*lines[:2], lines[2].replace(b'"block":2', b'"block":9'), *lines[3:]]))
    for attempt in (StoredRun.open, lambda url: StoredRun.resume(url, toy.header)):
        with pytest.raises(UserError, match=r"line 3 of status/manifest/part-0000\.jsonl is damaged .*verify --repair"):
            attempt(str(damaged))
    repair(str(damaged))
    assert toy.resume(str(damaged)) == 1
    assert toy.same(str(damaged))


def test_lines_of_two_parts_count_together(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(2))
    with StoredRun.resume(url, toy.header, part=1) as run:
        run.commit(toy.write(run.target, 4))
        with StoredRun.resume(url, toy.header, part=0) as first:
            assert toy.finish(first) == 2
    assert toy.same(url)
    assert verify(url).ok
    assert len((tmp_path / "R.zarr/status/manifest/part-0001.jsonl").read_bytes().splitlines()) == 1


def test_conflicting_lines_of_one_block_are_settled_by_its_content(toy, damaged):
    header = StoredRun.open(str(damaged)).header
    part = damaged / PART
    receipt = from_line(part.read_bytes().splitlines(keepends=True)[1], header)
    with part.open("ab") as handle:
        handle.write(to_line(type(receipt)(**{**vars(receipt), "checksum": "0" * 64})))
    with pytest.raises(UserError, match="block 1 is committed twice with different content"):
        StoredRun.open(str(damaged))
    assert mended(toy, damaged)


def test_metadata_of_an_array_is_written_anew(toy, damaged):
    path = damaged / "e_above_hull/zarr.json"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"float32", b"float16"))
    assert toy.same(str(damaged))  # the run's own reader goes by the header
    assert kinds(damaged) == {"metadata"}
    assert repair(str(damaged)).ok
    assert path.read_bytes() == before
    assert verify(str(damaged)).ok


def test_damaged_header_is_refused_and_mended_from_its_copy(toy, damaged):
    path = damaged / "zarr.json"
    path.write_bytes(path.read_bytes().replace(b"castelli", b"castellj"))
    with pytest.raises(UserError, match=r"damaged header .* Mend it with screen verify --repair"):
        StoredRun.open(str(damaged))
    with pytest.raises(UserError, match="damaged header"):
        StoredRun.create(str(damaged), toy.header)
    assert mended(toy, damaged)


def test_both_headers_damaged_cannot_be_mended_and_says_so(damaged):
    for name in ("zarr.json", COPY):
        (damaged / name).write_bytes((damaged / name).read_bytes().replace(b"castelli", b"castellj"))
    for attempt in (verify, repair):
        with pytest.raises(UserError, match=r"both copies of the header are damaged\. Restore zarr\.json"):
            attempt(str(damaged))


def test_run_of_a_newer_format_is_refused(damaged):
    for name in ("zarr.json", COPY):
        document = json.loads((damaged / name).read_text())
        document["attributes"]["schema"] = 99
        (damaged / name).write_text(json.dumps(document))
    with pytest.raises(UserError, match="run format 99; this version reads 5 and 6"):
        StoredRun.open(str(damaged))


def test_damage_on_any_kind_of_store_is_found_and_mended(toy, url):
    toy.make(url)
    place = StoredRun.open(url).place
    place.write({"status/c.2": b"broken", "zarr.json": b"{}"})
    place.delete("e_above_hull/c.4")
    report = repair(url, toy.identity)
    assert {f.kind for f in report.findings} == {"header", "damaged"}
    assert (report.sound, toy.resume(url)) == (3, 2)
    assert verify(url, toy.identity).ok
    assert toy.same(url)


def test_repair_of_a_run_in_use_is_refused(toy, url):
    with StoredRun.create(url, toy.header), pytest.raises(UserError, match="is in use by process"):
        repair(url)


def test_repair_of_a_sound_run_changes_nothing(damaged):
    before = {name: (damaged / name).read_bytes() for name in files_of(damaged)}
    report = repair(str(damaged))
    assert report.ok
    assert report.mended == ()
    assert {name: (damaged / name).read_bytes() for name in files_of(damaged)} == before


@settings(deadline=None, derandomize=True, max_examples=100)
@given(data=st.data())
def test_any_changed_byte_of_a_manifest_line_is_noticed(finished, data):
    header = StoredRun.open(str(finished)).header
    line = bytearray((finished / PART).read_bytes().splitlines(keepends=True)[0])
    receipt = from_line(bytes(line), header)
    assert to_line(receipt) == bytes(line)
    position = data.draw(st.integers(0, len(line) - 1))
    line[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[position]))
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        from_line(bytes(line), header)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(data=st.data())
def test_a_shard_cut_anywhere_never_reads_as_something_else(finished, data):
    documents = array_documents((finished / "zarr.json").read_bytes())
    name = data.draw(st.sampled_from(["status", "e_above_hull", "in_domain"]))
    shard = (finished / name / "c.1").read_bytes()
    with pytest.raises(ValueError, match=r"."):
        decode(documents[name], "c.1", shard[: data.draw(st.integers(0, len(shard) - 1))], 20, 40)
