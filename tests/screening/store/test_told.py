"""What a run tells beside its rows: on which kind of device they were predicted, and how fast a client is."""

import time
from dataclasses import replace

import pytest

from cgcnn.errors import UserError
from screening.store import StoredRun, lock, verify


def test_a_run_stays_on_the_kind_of_device_that_it_was_begun_on(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header) as run:
        first, second, third = (toy.write(run.target, block) for block in range(3))
        assert run.device == ""
        run.commit(replace(first, device="cpu"))
        run.commit(second)  # of a block that nobody predicted
        with pytest.raises(UserError, match=r"predicted block 2 on cuda, others were predicted on cpu"):
            run.commit(replace(third, device="cuda"))
    with StoredRun.resume(url, toy.header) as run:
        assert run.device == "cpu"
        assert run.n_committed == 2


def test_devices_that_two_clients_mixed_are_told_by_verify(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    with StoredRun.create(url, toy.header, part=1) as one, StoredRun.resume(url, toy.header, part=2) as two:
        for block in range(toy.header.n_blocks):
            run, device = ((one, "cpu"), (two, "cuda"))[block % 2]
            run.commit(replace(toy.write(run.target, block), device=device))
    report = verify(url, toy.identity)
    assert report.ok
    assert "device: blocks: predicted on cpu and cuda" in report.text()


def test_others_are_told_how_fast_a_client_is(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(lock.acquire, "__kwdefaults__", {"beat": 0.05, "patience": 1.0})
    with StoredRun.create(str(tmp_path / "R.zarr"), toy.header) as run:
        (holder,) = lock.claims(run.place, 0)
        assert lock.rate(run.place, 0, holder) == 0
        run.tell(1234.5)
        end = time.monotonic() + 5
        while lock.rate(run.place, 0, holder) != 1234.5:
            assert time.monotonic() < end
            time.sleep(0.01)
