"""Making, filling, committing, resuming and reading a run, wherever it lies."""

import json
import pickle
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.store import RunReference, StoredRun, exists, verify, write_block
from screening.store.header import ROOT, files, parse
from screening.store.shard import chunk_rows


def test_finished_run_holds_every_row_bit_for_bit(toy, url):
    toy.make(url)
    assert toy.same(url)
    assert verify(url, toy.identity).ok


def test_ledger_always_adds_up_to_the_space(toy, url):
    with StoredRun.create(url, toy.header) as run:
        assert run.ledger() == {0: 95}
        for block in (4, 1):
            run.commit(toy.write(run.target, block))
            assert sum(run.ledger().values()) == 95
        assert run.ledger()[0] == 60
        toy.finish(run)
        assert run.ledger() == {1: 65, 2: 14, 10: 16}


@settings(deadline=None, derandomize=True, max_examples=8)
@given(first=st.lists(st.integers(0, 4), unique=True))
def test_resume_does_only_what_is_not_committed(toy, first):
    with tempfile.TemporaryDirectory() as folder:
        url = f"{folder}/R.zarr"
        with StoredRun.create(url, toy.header) as run:
            for block in first:
                run.commit(toy.write(run.target, block))
        assert set(StoredRun.open(url).missing_blocks()) == set(range(5)) - set(first)
        assert toy.resume(url) == 5 - len(first)
        assert toy.resume(url) == 0
        assert toy.same(url)


def test_written_but_uncommitted_block_is_not_part_of_the_run(toy, url):
    with StoredRun.create(url, toy.header) as run:
        toy.write(run.target, 2)
    assert list(StoredRun.open(url).missing_blocks()) == [0, 1, 2, 3, 4]
    assert list(StoredRun.open(url).blocks(["status"])) == []
    with pytest.raises(UserError, match=r"block 2 is not done yet\. Go on with `resume`"):
        StoredRun.open(url).read(["status"], 45, 50)


def test_one_commit_may_hold_many_blocks(toy, url):
    with StoredRun.create(url, toy.header) as run:
        run.commit(*(toy.write(run.target, block) for block in range(5)))
    assert toy.same(url)


def test_block_committed_twice_counts_once(toy, url):
    with StoredRun.create(url, toy.header) as run:
        receipt = toy.write(run.target, 3)
        run.commit(receipt)
        run.commit(receipt, toy.write(run.target, 3))
        assert run.n_committed == 1
        toy.finish(run)
    assert verify(url).ok


def test_block_with_other_content_than_committed_is_refused(toy, url):
    with StoredRun.create(url, toy.header) as run:
        run.commit(toy.write(run.target, 0))
        rows = toy.rows(0, 20)
        rows["in_domain"] = ~rows["in_domain"]
        other = write_block(run.target, 0, rows, failures=dict.fromkeys((3, 10, 17), "bad"))
        with pytest.raises(UserError, match="block 0 is committed twice with different content"):
            run.commit(other)


def test_creating_over_a_run_is_refused_with_its_progress(toy, url):
    toy.make(url, range(2))
    with pytest.raises(UserError, match=r"holds a run \(2 of 5 blocks\)\. Pass `resume` to go on or another `out`"):
        StoredRun.create(url, toy.header)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_digest": "xyz"}, "model digest: the run has abc, you have xyz"),
        ({"recipe": {"elements": ["Sr"], "anions": 1}}, r'recipe elements: the run has \["Ca", "Ti", "O"\], you'),
        ({"space": {"prototype": "elpasolite", "size": 95}}, "space prototype: the run has cubic-perovskite"),
        ({"rows": 96}, "rows: the run has 95, you have 96"),
        ({"code_version": "0.2.0"}, "code version: the run has 0.1.0, you have 0.2.0"),
        ({"filters": ()}, r'filters: the run has \["charge"\], you have \[\]'),
    ],
)
def test_resuming_another_identity_is_refused_naming_the_difference(toy, tmp_path, changes, named):
    toy.make(str(tmp_path / "R.zarr"), range(1))
    with pytest.raises(UserError, match=named):
        StoredRun.resume(str(tmp_path / "R.zarr"), toy.other(**changes))


def test_all_differences_are_named_at_once(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"), range(1))
    with pytest.raises(UserError, match=r"code version: .*; model digest: .*\. Pass another `out`"):
        StoredRun.resume(str(tmp_path / "R.zarr"), toy.other(model_digest="xyz", code_version="2"))


def test_block_size_and_model_path_are_no_part_of_the_identity(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(1))
    with StoredRun.resume(url, toy.other(block_rows=50, model="/elsewhere/castelli", created="later")) as run:
        assert run.header.block_rows == 20
        assert toy.finish(run) == 4
    assert toy.same(url)


def test_streaming_gives_the_committed_blocks_in_order(toy, url):
    toy.make(url, range(4, 0, -2))
    found = [(rows.start, rows.stop) for rows in StoredRun.open(url).blocks(["status"])]
    assert found == [(40, 60), (80, 95)]
    with pytest.raises(UserError, match=r"column nonsense: not in this run\. It has species, status"):
        next(StoredRun.open(url).blocks(["nonsense"]))


@settings(deadline=None, derandomize=True, max_examples=20)
@given(a=st.integers(0, 94), b=st.integers(0, 94))
def test_any_range_of_rows_can_be_read(toy, tmp_path_factory, a, b):
    url = str(tmp_path_factory.getbasetemp() / "read.zarr")
    if not exists(url):
        toy.make(url)
    start, stop = min(a, b), max(a, b) + 1
    found = StoredRun.open(url).read(["species", "e_above_hull"], start, stop)
    expected = toy.rows(start, stop)
    assert all(found[name].tobytes() == expected[name].tobytes() for name in found)


def test_plain_zarr_and_xarray_read_the_run_without_a_warning(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    toy.make(url)
    expected = toy.rows(0, 95)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(url, mode="r", use_consolidated=False)
        assert dict(group.arrays()).keys() == expected.keys()
        assert all(np.array_equal(group[name][:], expected[name], equal_nan=name[0] == "e") for name in expected)
        for consolidated in (None, True, False):
            with xr.open_zarr(url, consolidated=consolidated, chunks=None) as data:
                assert data.sizes == {"candidate": 95, "site": 5}
                assert data["e_above_hull"].attrs == {"units": "eV/atom", "long_name": "energy above the hull"}
                assert data["status"].dtype == np.uint8
                assert np.array_equal(data["species"].values, expected["species"])
                assert data.attrs["model_digest"] == "abc"
        zarr.open_group(url, mode="r").tree()
        with xr.open_zarr(url) as data:
            data.to_netcdf(tmp_path / "run.nc")  # whose attributes are numbers and texts
        with xr.open_dataset(tmp_path / "run.nc") as data:
            assert data.attrs["model_digest"] == "abc"
            assert np.array_equal(data["species"].values, expected["species"])


def test_headers_of_format_5_are_read(toy):
    older = replace(toy.header, schema=5)
    root = files(older)[ROOT]
    assert isinstance(json.loads(root)["attributes"]["space"], dict)
    read = parse(root)
    assert replace(read, digest="", columns=older.columns) == older
    assert [column.name for column in read.columns] == [column.name for column in older.columns]


def test_every_array_has_a_checksum_on_chunks_and_index_and_one_shard_a_block(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"), range(1))
    for name in toy.rows(0, 1):
        (sharding,) = json.loads((tmp_path / "R.zarr" / name / "zarr.json").read_text())["codecs"]
        for codecs in ("codecs", "index_codecs"):
            assert sharding["configuration"][codecs][-1]["name"] == "crc32c"
    assert zarr.open_array(str(tmp_path / "R.zarr" / "status"), mode="r").shards == (20,)


def test_unwritten_rows_have_status_zero(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"), range(1))
    status = zarr.open_array(str(tmp_path / "R.zarr" / "status"), mode="r")[:]
    assert (status[:20] > 0).all()
    assert (status[20:] == 0).all()


def test_failed_rows_keep_their_reasons_as_ranges(toy, tmp_path):
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run:
        rows = toy.rows(20, 40) | {"status": np.full(20, 2, np.uint8)}
        receipt = write_block(run.target, 20, rows, failures={row: "no" if row != 30 else "odd" for row in rows_of(1)})
        run.commit(receipt)
    assert receipt.failures == {"no": ((20, 30), (31, 40)), "odd": ((30, 31),)}
    line = json.loads((tmp_path / "R.zarr/status/manifest/part-0000.jsonl").read_text())
    assert line["failures"] == {"no": [[20, 30], [31, 40]], "odd": [[30, 31]]}


def rows_of(block: int) -> range:
    return range(block * 20, block * 20 + 20)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows.pop("species"), "columns species"),
        (lambda rows: rows.update(more=rows["status"]), "columns more"),
        (lambda rows: rows.update(e_above_hull=rows["e_above_hull"].astype(float)), "columns e_above_hull"),
        (lambda rows: rows.update(status=rows["status"][:-1]), "columns status"),
        (lambda rows: rows.update(status=rows["status"] * 0), "never written"),
        (lambda rows: rows.update(status=rows["status"] * 0 + 2), "needs a reason"),
    ],
)
def test_a_block_that_is_not_whole_is_no_block(toy, tmp_path, change, problem):
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run:
        rows = toy.rows(0, 20)
        change(rows)
        with pytest.raises(ValueError, match=problem):
            write_block(run.target, 0, rows, failures=dict.fromkeys((3, 10, 17), "bad"))
        with pytest.raises(ValueError, match="row 10 is not the first of a block"):
            write_block(run.target, 10, rows)


def test_reader_cannot_commit(toy, url):
    toy.make(url, range(1))
    run = StoredRun.open(url)
    with pytest.raises(ValueError, match=r"only StoredRun\.create and StoredRun\.resume"):
        run.commit(toy.write(run.target, 1))


def test_target_is_small_to_send(toy, tmp_path):
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run:
        assert len(pickle.dumps(run.target)) < 500
        assert pickle.loads(pickle.dumps(run.target)) == run.target


def test_late_worker_does_not_bring_back_a_removed_run(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:
        toy.write(run.target, 0)
    shutil.rmtree(url)
    with pytest.raises(UserError, match=r"the run that this block belongs to is gone"):
        toy.write(run.target, 1)
    assert not Path(url).exists()


def test_late_worker_does_not_write_into_a_run_that_took_the_place(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as old:
        toy.write(old.target, 0)
    shutil.rmtree(url)
    StoredRun.create(url, toy.other(model_digest="xyz")).close()
    with pytest.raises(UserError, match=r"the run that this block belongs to is gone"):
        toy.write(old.target, 1)


@pytest.mark.parametrize("what", ["file", "directory", "zarr"])
def test_what_is_not_a_run_is_refused_and_left_alone(toy, tmp_path, what):
    path = tmp_path / "R.zarr"
    if what == "file":
        path.write_text("precious")
    elif what == "directory":
        path.mkdir()
        (path / "precious.txt").write_text("precious")
    else:
        zarr.open_group(str(path), mode="w", attributes={"mine": True})
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"exists and is not a run\. Pass another `out`"):
        StoredRun.create(str(path), toy.header)
    for attempt in (StoredRun.open, verify, lambda url: StoredRun.resume(url, toy.header)):
        with pytest.raises(UserError, match=r"no run here|not a run of this program"):
            attempt(str(path))
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_an_empty_directory_may_become_a_run(toy, tmp_path):
    (tmp_path / "R.zarr").mkdir()
    toy.make(str(tmp_path / "R.zarr"))
    assert toy.same(str(tmp_path / "R.zarr"))


def test_missing_parent_and_unknown_protocol_give_one_line(toy, tmp_path):
    with pytest.raises(UserError, match=r"there is no directory .*nowhere\. Make it, or pass another `out`"):
        StoredRun.create(str(tmp_path / "nowhere/R.zarr"), toy.header)
    with pytest.raises(UserError, match="nonsense"):
        StoredRun.create("nonsense://R.zarr", toy.header)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="there is no directory"):
        StoredRun.create(str(tmp_path / "file/R.zarr"), toy.header)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_failed_creation_leaves_nothing_behind(toy, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("screening.store.place.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        StoredRun.create(str(tmp_path / "R.zarr"), toy.header)
    assert list(tmp_path.iterdir()) == []


def test_creation_cut_short_on_an_object_store_can_be_repeated(toy):
    url = "memory://runs/cut-short.zarr"
    toy.make(url)
    place = StoredRun.open(url).place
    for key in list(place.walk()):
        if not key.endswith("/zarr.json"):
            place.delete(key)
    toy.make(url)
    assert toy.same(url)


def test_a_file_url_is_a_directory(toy, tmp_path):
    toy.make(f"file://{tmp_path}/R.zarr")
    assert toy.same(str(tmp_path / "R.zarr"))


@given(rows=st.integers(1, 300_000))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_inner_chunks_divide_the_shard(rows):
    assert rows % chunk_rows(rows) == 0
    assert rows > 65_536 or chunk_rows(rows) == rows


def test_nothing_but_integers_is_needed_of_a_huge_space(toy, tmp_path):
    huge = toy.other(rows=10**12, block_rows=10**6)
    with StoredRun.create(str(tmp_path / "R.zarr"), huge) as run:
        assert run.header.n_blocks == 10**6
        assert next(run.missing_blocks()) == 0
        assert run.header.bounds(10**6 - 1) == (10**12 - 10**6, 10**12)


@pytest.mark.slow
def test_import_needs_no_zarr(python):
    process = python("import screening.store, sys; print('zarr' in sys.modules, 'fsspec' in sys.modules)")
    out, error = process.communicate()
    assert out.split() == ["False", "False"], error


def test_missing_target_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        write_block(RunReference(str(tmp_path / "none.zarr"), "x"), 0, {})


@pytest.mark.parametrize("url", ["zip://R.zip", "zip://R.zarr::x.zip", "tar://x.tar"])
def test_an_archive_is_no_place_for_a_run(url, toy):
    for opened in (lambda: StoredRun.open(url), lambda: StoredRun.create(url, toy.header)):
        with pytest.raises(UserError, match=f"{url}: an archive, in which no run can be kept"):
            opened()


@pytest.mark.slow
def test_two_writers_of_one_block_never_show_a_torn_shard(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:
        run.commit(toy.write(run.target, 0))
        code = (
            "from screening.store import StoredRun\nt = StoredRun.open(sys.argv[1]).target\n"
            "[toy.write(t, 0) for _ in range(40)]"
        )
        writers = [python(code, url) for _ in range(2)]
        reads = 0
        while any(writer.poll() is None for writer in writers):
            assert np.array_equal(run.read(["status"], 0, 20)["status"], toy.rows(0, 20)["status"])
            reads += 1
        assert [writer.wait() for writer in writers] == [0, 0]
        assert reads > 10
        toy.finish(run)
    assert verify(url, toy.identity).ok
    assert subprocess.run(["find", url, "-name", "*.partial"], capture_output=True, check=True).stdout == b""
