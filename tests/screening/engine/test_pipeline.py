"""What the pipeline decides before any worker does: sizes of blocks, and on which device a run goes on."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.errors import UserError
from screening.candidates.space import Space
from screening.candidates.structures import Structures
from screening.cluster import choose, start
from screening.engine.block import Block
from screening.engine.pipeline import MOST_BLOCKS, Assignment, ShutdownRequest, _device, block_rows, screen_blocks
from screening.plan import make_plan
from screening.recipe import make_recipe
from screening.status import Status
from screening.store import RunReference, StoredRun

COMPOSITIONS, STRUCTURES = Space.grain, Structures.grain
BATCH = COMPOSITIONS.batch


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(1, 2**63 - 1), st.integers(1, 20_000), st.sampled_from([COMPOSITIONS, STRUCTURES]))
def test_blocks_are_whole_batches_and_never_too_many(candidates, workers, grain):
    rows = block_rows(candidates, workers, None, grain)
    assert rows % grain.batch == 0
    assert candidates / rows <= MOST_BLOCKS
    assert rows <= max(
        grain.block, candidates / MOST_BLOCKS + grain.block + 1, workers * grain.per_worker + grain.block
    )


def test_blocks_grow_with_the_space_and_with_the_workers():
    assert block_rows(100, 2, None, COMPOSITIONS) == BATCH
    assert block_rows(20_000, 2, None, COMPOSITIONS) == 5 * BATCH
    assert block_rows(10**9, 100, None, COMPOSITIONS) == COMPOSITIONS.block
    assert block_rows(10**12, 100, None, COMPOSITIONS) == 15 * COMPOSITIONS.block
    assert block_rows(10**12, 100_000, None, COMPOSITIONS) == 28 * COMPOSITIONS.block
    assert block_rows(10**6, 2, None, STRUCTURES) == STRUCTURES.block
    assert block_rows(10, 2, None, STRUCTURES) == STRUCTURES.batch
    assert block_rows(10**12, 100, 1000, COMPOSITIONS) == 2 * BATCH
    assert block_rows(10**6, 10_000, None, COMPOSITIONS) == BATCH  # few for each of so many


def assignment(device, *, gpu=True):
    return Assignment(RunReference("R.zarr", "0"), (), gpu=gpu, device=device)


def test_a_run_goes_on_where_it_was_begun(monkeypatch):
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: True))
    assert [_device(assignment(device)) for device in ("", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    assert _device(assignment("", gpu=False)) == "cpu"
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(is_available=lambda: False))
    assert [_device(assignment(device)) for device in ("", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(UserError, match="no GPU, but the run was begun on cuda"):
        _device(assignment("cuda"))


@pytest.mark.slow
def test_workers_screen_without_torch(tmp_path):
    plan = make_plan(make_recipe(kind="perovskites", a=("Ca", "Sr"), b=("Ti", "Zr"), x=("O",)))
    with StoredRun.create(str(tmp_path / "R.zarr"), plan.header(512)) as run, start(choose("local", 1), 1) as force:
        for harvest in screen_blocks(force, run.target, [Block(0, 0, 4)], ShutdownRequest()):
            run.commit(*harvest.receipts)
        assert run.ledger()[Status.OK]
        loaded = force.client.run(lambda: set(__import__("sys").modules))  # by value: this module imports torch itself
        assert [{"torch", "pandas", "matplotlib"} & names for names in loaded.values()] == [set()]
