"""How blocks reach workers: a bounded number of them in flight, in one stage or in two."""

from __future__ import annotations

import signal
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from cgcnn.errors import UserError
from screening.cluster.flight import Flight, shortened
from screening.cluster.scheduler import BUILD, DEATHS, INFER, Workforce
from screening.engine.block import Block, BlockResult
from screening.engine.score import build_block, failed_block, infer_block, load_model, score_block
from screening.plan import from_header
from screening.store import BlockReceipt, RunReference, read_header, read_records, write_block
from screening.store.header import Versions, version_differences, versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from cgcnn.models.model import Model, PrototypeModel
    from screening.candidates.kind import Grain
    from screening.engine.score import Built
    from screening.plan import Plan


DRAIN = 20.0
"""Seconds in which blocks in flight may end after a shutdown request."""


@dataclass
class ShutdownRequest:
    """A request to finish what is under way and come back later, as SLURM sends it before it ends a job.

    Attributes:
        came: When it came on the monotonic clock, s; None if it did not.
    """

    came: float | None = None

    def __bool__(self) -> bool:
        """Tell whether it came: nothing new is begun then."""
        return self.came is not None

    @property
    def expired(self) -> bool:
        """Whether it is time to leave, whatever is in flight."""
        return self.came is not None and time.monotonic() - self.came > DRAIN


@contextmanager
def on_shutdown_request() -> Iterator[ShutdownRequest]:
    """Take SIGUSR1, which batch scripts have SLURM send, as a shutdown request; only the main thread gets one."""
    notice = ShutdownRequest()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield notice
        return

    def take(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # a signal handler
        notice.came = notice.came or time.monotonic()

    before = signal.signal(signal.SIGUSR1, take)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGUSR1, before)


Done = TypeVar("Done")

BLOCKS_A_WORKER = 4
"""Blocks that a worker should get at least, so that none idles long at the end."""
MOST_BLOCKS = 2**20
"""Blocks of a run at most, unless the user asks for smaller ones: 440 MB of manifest, a minute to resume."""


def block_rows(candidates: int, workers: int, wanted: int | None, grain: Grain) -> int:
    """Choose the candidates a block: what is wanted, or by the size of the space and the number of workers.

    Args:
        candidates: Of the space.
        workers: That share it.
        wanted: By the user; made a multiple of the batch.
        grain: Of the kind of candidates.
    """
    largest = max(grain.block, -(-candidates // MOST_BLOCKS), workers * grain.per_worker)
    rows = wanted or min(largest, candidates // (workers * BLOCKS_A_WORKER))
    step = grain.block if rows > grain.block and not wanted else grain.batch  # large shards have chunks of equal size
    return max(1, -(-rows // step)) * step


@dataclass(frozen=True)
class Assignment:
    """What every task of a run is told.

    Attributes:
        target: The run.
        versions: Of the client; a worker with others would give other bits, and refuses.
        gpu: Whether to predict on a GPU where there is one.
        device: Kind of device on which the run was begun, and must go on; empty if it was not begun.
    """

    target: RunReference
    versions: Versions
    gpu: bool
    device: str = ""


@dataclass(frozen=True)
class Completed:
    """Blocks that ended together.

    Attributes:
        receipts: To be committed, at once.
        in_flight: Blocks that are under way.
    """

    receipts: list[BlockReceipt]
    in_flight: int


def screen_blocks(
    force: Workforce, target: RunReference, blocks: Iterable[Block], notice: ShutdownRequest, device: str = ""
) -> Iterator[Completed]:
    """Screen blocks with a workforce; receipts come in order of completion.

    A worker is sent the address of the run and a block; it reads the plan from the run, and scores and writes the
    block by itself. Where some workers build and others predict, a block goes from one to the other directly. Memory
    does not grow with the space: a fixed number of blocks is in flight, and each that ends makes room for one more.

    Args:
        force: Whose workers do it.
        target: The run.
        blocks: What to screen.
        notice: Once it comes, nothing new is begun, and blocks in flight have little time left.
        device: Kind of device on which the run was begun, see `Assignment`.
    """
    assignment = Assignment(target, versions(), gpu=force.inference > 0, device=device)
    flight: Flight[Block, BlockReceipt] = Flight(force, _numbered, "Go on with `resume`.")
    waiting = iter(blocks)
    suspects: list[Block] = []
    while not notice.expired:
        for block in () if notice else islice(waiting, force.slots - len(flight.under_way)):
            _begin(flight, force, assignment, block)
        if not flight.under_way:
            break
        receipts = []
        for block, receipt in flight.ended():
            receipts += [receipt] if receipt else []
            suspects += [] if receipt else [block]
        if receipts:
            yield Completed(receipts, len(flight.under_way))
    for block in () if notice else suspects:  # one by one, for Dask also blames blocks that waited on a dead worker
        _begin(flight, force, assignment, block)
        while flight.under_way:
            for _, receipt in flight.ended():
                yield Completed([receipt or _give_up(target, block)], 0)


def screen_here(
    target: RunReference, blocks: Iterable[Block], notice: ShutdownRequest, device: str = ""
) -> Iterator[Completed]:
    """Screen blocks one after the other in this process, as a worker would; else as `screen_blocks`."""
    assignment = Assignment(target, versions(), gpu=False, device=device)
    for block in blocks:
        if notice:
            return
        yield Completed([screen_block(assignment, block)], 0)


def _begin(flight: Flight[Block, BlockReceipt], force: Workforce, assignment: Assignment, block: Block) -> None:
    """Hand a block out. Each task names what it needs of a worker, or it may land anywhere."""
    name = f"{block.number}-{uuid.uuid4()}"  # a scheduler may remember what an earlier client asked for
    if force.staged:
        built = force.client.submit(build_stage, assignment, block, key=f"build-{name}", resources=BUILD, pure=False)
        flight.submit(block, infer_stage, assignment, block, built, key=f"block-{name}", resources=INFER)
    else:
        flight.submit(block, screen_block, assignment, block, key=f"block-{name}", resources=force.resources)


def _numbered(blocks: Iterable[Block]) -> str:
    return f"block {shortened([str(number) for number in sorted(block.number for block in blocks)])}"


def screen_block(assignment: Assignment, block: Block) -> BlockReceipt:
    """Score one block and write it into the run; what a worker does that both builds and predicts."""
    begun = time.monotonic()
    device = _device(assignment)
    plan, model = _plan_and_model(assignment, device)
    result = _whatever_happens(plan, block, lambda: score_block(plan, model, block))
    return _write(assignment.target, result, begun, device)


def build_stage(assignment: Assignment, block: Block) -> Built | BlockResult:
    """Build one block; what a worker does that only builds. A block that cannot be built is a result already."""
    plan, model = _plan_and_model(assignment, "cpu")
    return _whatever_happens(plan, block, lambda: build_block(plan, model, block))


def infer_stage(assignment: Assignment, block: Block, built: Built | BlockResult) -> BlockReceipt:
    """Predict what was built and write the block into the run; what a worker does that only predicts."""
    begun = time.monotonic()
    device = _device(assignment)
    plan, model = _plan_and_model(assignment, device)
    result = built
    if not isinstance(result, BlockResult):
        whole = result
        result = _whatever_happens(plan, block, lambda: infer_block(plan, model, whole))
    return _write(assignment.target, result, begun, device)


def _whatever_happens(plan: Plan, block: Block, work: Callable[[], Done]) -> Done | BlockResult:
    """Run the work; whatever is wrong with one block must not stop the others."""
    try:
        return work()
    except MemoryError:  # the machine's fault, not the block's
        raise
    except Exception as error:  # noqa: BLE001  # becomes the reason of the block's failures
        return failed_block(plan, block, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _write(target: RunReference, result: BlockResult, begun: float, device: str) -> BlockReceipt:
    first, columns, seconds = result.block.start, result.columns, time.monotonic() - begun
    return write_block(target, first, columns, failures=result.failures, seconds=seconds, device=device)


def _device(assignment: Assignment) -> str:
    """Choose where this process predicts. One process a GPU: each sees its own through CUDA_VISIBLE_DEVICES.

    Raises:
        UserError: The run was begun on a GPU, and there is none here.
    """
    found = "cuda" if assignment.gpu and _has_gpu() else "cpu"
    if assignment.device in {"", found}:
        return found
    if assignment.device == "cpu":
        return "cpu"
    raise UserError(
        f"worker on {socket.gethostname()}: no GPU, but the run was begun on {assignment.device}, which rounds "
        "differently. Go on with `resume` and workers that have one, or begin another run."
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _give_up(target: RunReference, block: Block) -> BlockReceipt:
    """Write the failure rows of a block that no worker survived."""
    result = failed_block(_plan(target), block, f"{DEATHS} workers died on this block alone")
    return write_block(target, block.start, result.columns, failures=result.failures)


def _plan(target: RunReference) -> Plan:
    return from_header(read_header(target), read_records(target))


@lru_cache(maxsize=2)
def _plan_and_model(assignment: Assignment, device: str) -> tuple[Plan, Model | PrototypeModel]:
    """Load what a worker process needs once a run, having found that it may work for it."""
    if found := version_differences(assignment.versions, versions()):
        raise UserError(f"worker on {socket.gethostname()}: {found}. Give all workers the environment of the client.")
    if device != "cpu":
        import torch

        torch.set_num_threads(1)  # parallelism is in the blocks
        # Sums over edges are otherwise made in the order in which threads happen to come.
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    plan = _plan(assignment.target)
    model = load_model(plan)
    if model.digest != plan.model.digest:
        raise UserError(f"{plan.model.path}: not the model that the run began with; put that one back to go on.")
    return plan, model.to(device)
