"""How work spreads over workers, and how much of it one scheduler and one committer can take.

python benchmarks/cluster.py shapes        2 workers against 1, two stages against one, how long inference workers wait
python benchmarks/cluster.py shapes PATH…  the same of structures from files, with a model of random weights
python benchmarks/cluster.py start         seconds until 2 local workers are ready, with certificates and without
python benchmarks/cluster.py scale         cost of a block for scheduler and committer; where 1,000 workers saturate it

`scale` lets many workers that do nothing report blocks to the real pipeline and the real manifest, and counts the CPU
time of the process that schedules and commits. That time is what a busy machine does not distort; the rest is a model:

* One process schedules and commits. It saturates where workers finish blocks as fast as it can pass them on.
* A block costs its worker some fixed time beside the prediction: to be fetched, and to be written and synced.
* At 1,000 workers the process should be at most half busy, and at most 2 % of a worker's time may be fixed cost.
"""

import asyncio
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice

import dask
import torch
from distributed import Client, LocalCluster, Worker
from rich.console import Console
from rich.table import Table

from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.candidates.compositions import BATCH
from screening.candidates.kind import SORTABLE
from screening.cluster import local
from screening.cluster.local import local_workers
from screening.cluster.scheduler import BUILD, INFER, WORKER_SETTINGS, Workforce
from screening.cluster.security import make_certificate
from screening.engine import pipeline
from screening.engine.block import Block
from screening.engine.pipeline import Assignment, ShutdownRequest, screen_blocks
from screening.engine.score import load_model, score_block
from screening.plan import Plan, make_plan
from screening.recipe import make_recipe
from screening.store import BlockReceipt, Header, StoredRun, write_block
from screening.store.shard import CHECKSUM_DIGITS

A = "Li,Na,K,Rb,Cs,Mg,Ca,Sr,Ba,La,Y,Pb,Tl,Bi,Ce,Nd"
B = "Ti,Zr,Hf,Nb,Ta,V,Al,Ga,Sc,Mn,Fe,Co,Ni,Cr,W,Mo"
X = "O,N,F,S,Cl,Br,I"
ROWS, STRUCTURES = 1024, 128
"""Candidates and structures a block in `shapes`."""
FARMS = (10, 50)
"""Numbers of workers that do nothing."""
BLOCKS = 300
WRITES = 20
STARTS = 7
MANY = 1000
"""Workers of the cluster that is reckoned with."""
LARGE = 10**12
LINE = 420
"""Bytes of a line of the manifest."""
OVERHEAD = 0.02
GPU = 1_000_000
"""Candidates a second that a GPU is taken to do: an assumption, to be measured where there is one."""
console = Console(width=140)


def start() -> None:
    """Seconds until two workers of this machine have done a task each and are gone again, in turns."""
    from distributed import Security  # the others need it not

    ways = {"TLS": local.in_memory, "without": Security}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(STARTS):
        for way, security in ways.items():
            local.in_memory = security
            begun, cpu = time.monotonic(), sum(os.times()[:4])
            with local_workers(2, 0) as force:
                force.client.wait_for_workers(2)
                force.client.run(os.getpid)
            found[way].append((time.monotonic() - begun, sum(os.times()[:4]) - cpu))
    begun = time.process_time()
    for _ in range(STARTS):
        make_certificate()
    certificate = (time.process_time() - begun) / STARTS
    for way, pairs in found.items():
        for what, seconds in zip(("by the clock", "of processors"), zip(*pairs, strict=True), strict=True):
            console.print(f"{way}, {what}: least {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s")
    console.print(f"a certificate: {certificate * 1000:.1f} ms")


def shapes(*paths: str) -> None:
    """Rates of the shapes of work on this machine, once all workers have the model."""
    with tempfile.TemporaryDirectory() as folder:
        _shapes(_structures(paths, folder) if paths else _compositions(), STRUCTURES if paths else ROWS)


def _compositions() -> Plan:
    sites = {site: tuple(elements.split(",")) for site, elements in (("a", A), ("b", B), ("x", X))}
    return make_plan(make_recipe(kind="perovskites", anions=3, **sites))


def _structures(paths: tuple[str, ...], folder: str) -> Plan:
    model = save(untrained_for_structures(Settings(targets=("e_above_hull",)), members=4), f"{folder}/random")
    return make_plan(make_recipe(kind="structures", paths=paths, model=str(model)))


def _shapes(plan: Plan, rows: int) -> None:
    table = Table(title=f"{os.cpu_count()} cores, of which others used {os.getloadavg()[0]:.1f} before")
    for header in ("processes", "candidates/s", "inference waits"):
        table.add_column(header, justify="right")
    rates = {}
    for builders, inference in ((1, 0), (2, 0), (1, 1)):
        rate, waits = _rate(plan, rows, builders, inference)
        rates[builders, inference] = rate
        name = f"{builders} builder and {inference} for inference" if inference else f"{builders} that do both"
        table.add_row(name, f"{rate:,.0f}", f"{waits:.0%}" if inference else "")
    console.print(table)
    console.print(f"efficiency of 2 workers: {rates[2, 0] / rates[1, 0] / 2:.0%}")
    console.print(f"two stages against one, 2 processes each: {rates[1, 1] / rates[2, 0]:.2f}")


def _rate(plan: Plan, rows: int, builders: int, inference: int) -> tuple[float, float]:
    """Candidates a second, and the share of time in which inference workers have nothing to do."""
    with (
        tempfile.TemporaryDirectory() as folder,
        StoredRun.create(f"{folder}/R.zarr", plan.header(rows), records=plan.candidates.records) as run,
    ):
        blocks = (Block(number, *run.header.bounds(number)) for number in range(run.header.n_blocks))
        with local_workers(builders, inference) as force:
            _screen(run, force, islice(blocks, force.slots))  # until all have the model
            force.client.get_task_stream()  # from here on the scheduler takes notes
            begun, wall = time.monotonic(), time.time()
            candidates = _screen(run, force, blocks)
            seconds = time.monotonic() - begun
            tasks = force.client.get_task_stream(start=wall)
    spans = (span for task in tasks if str(task["key"]).startswith("block-") for span in task["startstops"])
    busy = sum(span["stop"] - span["start"] for span in spans if span["action"] == "compute")
    return candidates / seconds, 1 - busy / seconds / max(1, inference)


def _screen(run: StoredRun, force: Workforce, blocks: Iterable[Block]) -> int:
    """Screen and commit; returns the candidates done."""
    rows = 0
    for harvest in screen_blocks(force, run.target, blocks, ShutdownRequest()):
        run.commit(*harvest.receipts)
        rows += sum(receipt.rows for receipt in harvest.receipts)
    return rows


def scale() -> None:
    """Cost of a block for the process that schedules and commits, and what follows for many workers."""
    pipeline.screen_block, pipeline.build_stage, pipeline.infer_stage = _report, _build, _infer
    console.print(f"CPU time of scheduler, client and committer, mean of {BLOCKS:,} blocks:")
    costs = {}
    for workers in FARMS:
        costs[workers] = _cost(workers, staged=False), _cost(workers, staged=True)
        for name, cost in zip(("one stage", "two stages"), costs[workers], strict=True):
            console.print(
                f"  {workers} workers, {name}: {cost * 1e3:.2f} ms a block, so {1 / cost:,.0f} blocks/s at most"
            )
    fixed, reading, core = _fixed_cost(), _reading_cost(), _core_rate()
    console.print(f"fixed cost of a block for its worker: {fixed * 1e3:.0f} ms")
    console.print(f"to read a line of the manifest: {reading * 1e6:.0f} us")
    for name, cost in zip(("one stage", "two stages"), costs[max(FARMS)], strict=True):
        _outlook(name, cost, fixed, reading, {"core": core, "GPU": GPU})


def _outlook(name: str, cost: float, fixed: float, reading: float, rates: dict[str, float]) -> None:
    """What these costs mean for many workers and a large space."""
    saturated, wanted = MANY * cost, max(2 * MANY * cost, fixed / OVERHEAD)
    console.print(f"{MANY:,} workers, {name}: saturated by blocks of {saturated:.1f} s; wanted: {wanted:.1f} s or more")
    for kind, rate in rates.items():
        rows = -(-int(wanted * rate) // BATCH) * BATCH
        blocks = LARGE / rows
        console.print(
            f"  one {kind} each ({rate:,.0f}/s): {rows:,} candidates a block; {LARGE:.0e} are {blocks:,.0f} blocks, "
            f"{blocks * LINE / 1e6:,.0f} MB of manifest, {blocks * reading:,.0f} s to resume, "
            f"{LARGE / rate / MANY / 3600:,.1f} h"
        )


def _report(assignment: Assignment, block: Block) -> BlockReceipt:
    """In place of the pipeline's tasks."""
    rows, checksum = block.stop - block.start, "0" * CHECKSUM_DIGITS * (len(SORTABLE) + 2)
    bounds, run = (block.number, block.start, block.stop), assignment.target.digest
    return BlockReceipt(*bounds, checksum, rows, 1.0, "nobody:1", {1: rows}, run=run)


def _build(assignment: Assignment, block: Block) -> None:
    """In place of the pipeline's task; how much travels between workers does not matter to the scheduler."""


def _infer(assignment: Assignment, block: Block, built: None) -> BlockReceipt:  # noqa: ARG001
    return _report(assignment, block)


def _cost(workers: int, *, staged: bool) -> float:
    """CPU seconds of this process for a block, with so many workers that do nothing."""
    with (
        tempfile.TemporaryDirectory() as folder,
        dask.config.set(WORKER_SETTINGS),
        _large_run(folder) as run,
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        arguments = (cluster.scheduler_address, workers, staged)
        farm = multiprocessing.get_context("spawn").Process(target=_farm, args=arguments, daemon=True)
        farm.start()
        client.wait_for_workers(workers)
        force = Workforce(client, *((workers - workers // 2, workers // 2) if staged else (workers, 0)))
        blocks = (Block(number, *run.header.bounds(number)) for number in range(run.header.n_blocks))
        _screen(run, force, islice(blocks, force.slots))
        begun = time.process_time()
        _screen(run, force, islice(blocks, BLOCKS))
        cost = (time.process_time() - begun) / BLOCKS
        farm.kill()
        farm.join()
    return cost


def _large_run(folder: str) -> StoredRun:
    """A run of 1e12 candidates of which nothing will ever be screened."""
    header = Header(
        *(LARGE, 2**20, _compositions().candidates.columns(0.05), {}, {}, (), "none", "0", "0", "now"),
    )
    return StoredRun.create(f"{folder}/R.zarr", header)


def _farm(address: str, workers: int, staged: bool) -> None:  # noqa: FBT001  # arguments of a process
    logging.disable(logging.CRITICAL)

    async def live() -> None:
        kinds = [INFER if staged and number % 2 else BUILD for number in range(workers)]
        await asyncio.gather(*(Worker(address, nthreads=1, memory_limit=0, resources=kind) for kind in kinds))
        await asyncio.Event().wait()

    asyncio.run(live())


def _fixed_cost() -> float:
    """Seconds in which a worker writes a block of one row: what does not grow with the block."""
    plan = make_plan(make_recipe(kind="perovskites", a=("Ca",), b=("Ti",), x=("O",)))
    result = score_block(plan, load_model(plan), Block(0, 0, 1))
    with (
        tempfile.TemporaryDirectory(dir=".") as folder,
        StoredRun.create(f"{folder}/R.zarr", plan.header(BATCH)) as run,
    ):
        begun = time.monotonic()
        for _ in range(WRITES):
            write_block(run.target, 0, result.columns)
        return (time.monotonic() - begun) / WRITES


def _core_rate() -> float:
    """Candidates that one core does in a second of its time."""
    plan = _compositions()
    model = load_model(plan)
    torch.set_num_threads(1)
    score_block(plan, model, Block(0, 0, BATCH))
    begun = time.process_time()
    score_block(plan, model, Block(0, 0, 4 * ROWS))
    return 4 * ROWS / (time.process_time() - begun)


def _reading_cost() -> float:
    """CPU seconds to read a line of the manifest."""
    with tempfile.TemporaryDirectory() as folder:
        with _large_run(folder) as run:
            nobody = Assignment(run.target, (), gpu=False)
            run.commit(*(_report(nobody, Block(i, *run.header.bounds(i))) for i in range(BLOCKS)))
        begun = time.process_time()
        with StoredRun.open(f"{folder}/R.zarr"):
            return (time.process_time() - begun) / BLOCKS


if __name__ == "__main__":
    {"start": start, "shapes": shapes, "scale": scale}[sys.argv[1]](*sys.argv[2:])
