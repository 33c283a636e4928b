"""How blocks reach workers: a Dask cluster, and a bounded number of blocks in flight."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from screening.block import Block, failed_block, score_block
from screening.store import BlockReceipt, write_block

if TYPE_CHECKING:
    from distributed import Client

    from cgcnn.weights import Model
    from screening.plan import Plan

IN_FLIGHT = 2
"""Blocks handed out for each worker thread: one that it works on, one that waits."""


@contextmanager
def local_cluster(workers: int) -> Iterator["Client"]:
    """A Dask cluster on this machine: so many single-threaded processes, reachable over loopback alone."""
    import dask
    from distributed import Client, LocalCluster

    quiet = {"distributed.worker.memory.target": False, "distributed.worker.memory.spill": False}
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def screen_blocks(client: "Client", url: str, plan_digest: str, blocks: Iterable[Block]) -> Iterator[BlockReceipt]:
    """Screen blocks on the workers of a client; receipts come in order of completion.

    A worker is sent the address of the run and a block; it reads the plan from the run, and scores and writes the
    block by itself. Memory does not grow with the space: a fixed number of blocks is in flight.

    Args:
        client: whose workers do it.
        url: the run.
        plan_digest: digest of the plan that the run must hold.
        blocks: what to screen.
    """
    from distributed import as_completed

    waiting = iter(blocks)
    slots = IN_FLIGHT * max(1, sum(client.nthreads().values()))

    def submit(block: Block) -> object:
        return client.submit(screen_block, url, plan_digest, block, key=f"block-{block.number}", pure=False)

    running = as_completed([submit(block) for block in islice(waiting, slots)])
    for future in running:
        receipt: BlockReceipt = future.result()
        future.release()
        for block in islice(waiting, 1):
            running.add(submit(block))
        yield receipt


def screen_block(url: str, plan_digest: str, block: Block) -> BlockReceipt:
    """Score one block and write it into the run; what a worker does."""
    import torch

    torch.set_num_threads(1)  # more would change nothing but the bits: parallelism is in the blocks
    plan, model = _plan_and_model(url, plan_digest)
    result = score_block(plan, model, block)
    return write_block(url, block, result.columns)
