"""How blocks reach workers: a Dask cluster, and a bounded number of blocks in flight."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.block import BATCH, Block, failed_block, score_block
from screening.plan import from_header
from screening.store import BlockReceipt, Target, read_header, write_block

if TYPE_CHECKING:
    from distributed import Client, Future

    from cgcnn.weights import Model
    from screening.plan import Plan

DEATHS = 10
"""Workers that may die on one block before its candidates count as failed; so many are no accident."""
WORKER_SETTINGS = {
    "distributed.scheduler.allowed-failures": DEATHS - 1,
    # Ctrl-C reaches every process of a terminal. The client alone answers it, and stops its workers in order.
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
    # Receipts are all that Dask keeps: there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # Keep freed memory for the next batch. Dask's own setting hands it back at once, and half the time goes into that.
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 2**28,
        "MALLOC_MMAP_THRESHOLD_": 2**28,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
    },
}
IN_FLIGHT = 2
"""Blocks handed out for each worker thread: one that it works on, one that waits."""
LARGEST_BLOCK = 65_536
"""Candidates a block at most: some seconds of work, some megabytes of memory."""
BLOCKS_A_WORKER = 4
"""Blocks that a worker should get at least, so that none idles long at the end."""


def block_rows(candidates: int, workers: int, wanted: int | None = None) -> int:
    """Candidates a block: what is wanted, or by the size of the space; a multiple of the model's batch.

    Args:
        candidates: of the space.
        workers: that share it.
        wanted: by the user.
    """
    rows = wanted or min(LARGEST_BLOCK, candidates // (workers * BLOCKS_A_WORKER))
    return max(1, -(-rows // BATCH)) * BATCH


@contextmanager
def local_cluster(workers: int) -> Iterator["Client"]:
    """A Dask cluster on this machine: so many single-threaded processes, reachable over loopback alone."""
    import dask  # noqa: PLC0415 -- half a second that planning and ranking do without
    from distributed import Client, LocalCluster  # noqa: PLC0415

    with (
        dask.config.set(WORKER_SETTINGS),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def screen_blocks(client: "Client", target: Target, blocks: Iterable[Block]) -> Iterator[BlockReceipt]:
    """Screen blocks on the workers of a client; receipts come in order of completion.

    A worker is sent the address of the run and a block; it reads the plan from the run, and scores and writes the
    block by itself. Memory does not grow with the space: a fixed number of blocks is in flight.

    Args:
        client: whose workers do it.
        target: the run.
        blocks: what to screen.
    """
    from distributed import KilledWorker, as_completed  # noqa: PLC0415

    waiting = iter(blocks)
    slots = IN_FLIGHT * max(1, sum(client.nthreads().values()))
    in_flight: dict[Future[BlockReceipt], Block] = {}

    def submit(block: Block) -> "Future[BlockReceipt]":
        future = client.submit(screen_block, target, block, key=f"block-{block.number}", pure=False)
        in_flight[future] = block
        return future

    running = as_completed([submit(block) for block in islice(waiting, slots)])
    for future in running:
        block = in_flight.pop(future)
        try:
            receipt = future.result()
        except KilledWorker:
            receipt = _give_up(target, block)
        future.release()
        for following in islice(waiting, 1):
            running.add(submit(following))
        yield receipt


def screen_block(target: Target, block: Block) -> BlockReceipt:
    """Score one block and write it into the run; what a worker does."""
    import torch  # noqa: PLC0415 -- a worker's business; the client does without

    torch.set_num_threads(1)  # parallelism is in the blocks, and the bits must not depend on the cores
    begun = time.monotonic()
    plan, model = _plan_and_model(target)
    try:
        result = score_block(plan, model, block)
    except MemoryError:  # the machine's fault, not the block's
        raise
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with a block must not stop the others
        result = failed_block(plan, block, f"{type(error).__name__}: {' '.join(str(error).split())}")
    seconds = time.monotonic() - begun
    return write_block(target, block.start, result.columns, failures=result.failures, seconds=seconds)


def _give_up(target: Target, block: Block) -> BlockReceipt:
    """Write the failure rows of a block that no worker survived."""
    result = failed_block(from_header(read_header(target)), block, f"{DEATHS} workers died on this block")
    return write_block(target, block.start, result.columns, failures=result.failures)


@lru_cache(maxsize=2)
def _plan_and_model(target: Target) -> tuple["Plan", "Model"]:
    """What a worker process loads once a run."""
    from cgcnn.weights import load  # noqa: PLC0415

    plan = from_header(read_header(target))
    model = load(plan.model.path)
    if model.digest != plan.model.digest:
        raise UserError(f"{plan.model.path}: not the model that the run began with; put that one back to go on.")
    return plan, model
