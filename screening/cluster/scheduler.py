"""A scheduler in this process for workers on other nodes: encrypted, and stopped with the run."""

from __future__ import annotations

import json
import logging
import resource
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from cgcnn.errors import UserError
from cgcnn.machine import STOPPING, limit_hit, stopping
from screening.cluster.security import private_scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client, Security, SpecCluster


DEATHS = 5
"""Workers that may die on a block before it is set apart, and again before its candidates count as failed."""
HEALTH = 2.0
"""Seconds between looks at the worker processes; what is dead twice in a row does not come back by itself."""
WORKER_SETTINGS = {
    # Dask's web servers tell logs and call stacks to whoever can reach them: on loopback, all users of the machine.
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    "distributed.scheduler.allowed-failures": DEATHS - 1,
    # Receipts are all that Dask keeps: there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # A hundred samples a second of every worker's stack, an hour of which Dask keeps: a hundred kilobytes a second.
    "distributed.worker.profile.enabled": False,
    # Keep freed memory for the next batch. Dask's own setting hands it back at once, and half the time goes into that.
    "distributed.nanny.pre-spawn-environ": {
        "MALLOC_TRIM_THRESHOLD_": 2**28,
        "MALLOC_MMAP_THRESHOLD_": 2**28,
        "OMP_NUM_THREADS": 1,
        "MKL_NUM_THREADS": 1,
        "OPENBLAS_NUM_THREADS": 1,
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it products on a GPU differ from call to call
    },
}


FILES, FILES_OF_A_WORKER, FILES_OF_A_WORKER_ELSEWHERE = 40, 12, 4
"""Files and connections that a client has open: at least, and more for each worker. Measured, with some room."""


def make_room(workers: int, each: int = FILES_OF_A_WORKER) -> None:
    """Let this process open as many files as it needs.

    Args:
        workers: How many there will be.
        each: Files for each of them.

    Raises:
        UserError: The system does not allow it.
    """
    needed = FILES + each * workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in {soft, hard} and soft < needed <= hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    elif soft != resource.RLIM_INFINITY and soft < needed:
        raise UserError(
            f"ulimit -n is {hard}: {workers} workers need {needed} open files. Raise it, or ask for fewer `workers`."
        )


@contextmanager
def not_startable() -> Iterator[None]:
    """Name the limit where the system starts no more processes or threads, or opens no more files.

    Raises:
        UserError: That is so.
    """
    try:
        yield
    except Exception as error:
        if limit := limit_hit(error):
            raise UserError(limit) from error
        raise


Started = TypeVar("Started")

LIMIT = 120.0
"""Seconds in which a scheduler must be up; worker processes get more, by their number."""
PATIENCE = 10.0
"""Seconds that a start may go on after Ctrl-C or SIGTERM, to end in order."""
LOOK = 0.1
"""Seconds between two looks at a start."""


@contextmanager
def uninterrupted() -> Iterator[Callable[[], bool]]:
    """Let signals that end this process wait: a cluster that is stopped half-way up or down leaves errors, or jobs.

    Ctrl-C and a terminal that closes reach every process of it, but the client alone answers, and stops its workers in
    order. Threads that begin here, and the processes that these start later, never get it. Only the main thread gets
    signals; in another one nothing is to be done.

    Yields:
        Says whether one of them came.

    Raises:
        KeyboardInterrupt: At the end, if one of them came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    numbers = stopping()
    before = {number: signal.signal(number, lambda came_, _: came.append(came_)) for number in numbers}
    blocked = {*STOPPING} - {signal.SIGTERM}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    resource_tracker.ensure_running()  # or whoever starts a process starts it, and that takes Ctrl-C off the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield lambda: bool(came) or bool(blocked & signal.sigpending())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def started(begin: Callable[[], Started], came: Callable[[], bool], limit: float = LIMIT) -> Started:
    """Start something in a thread, and give up if it takes too long, or if a signal came and it does not end soon.

    Args:
        begin: Starts it.
        came: Says whether a signal came, as of `uninterrupted`.
        limit: Seconds.

    Raises:
        UserError: It takes longer than the limit.
        KeyboardInterrupt: A signal came, and it was not up `PATIENCE` seconds later.
    """
    results: list[Started] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(begin())
        except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="start", daemon=True)
    thread.start()
    end, interrupted = time.monotonic() + limit, False
    while thread.is_alive():
        thread.join(LOOK)
        if not interrupted and came():
            end, interrupted = min(end, time.monotonic() + PATIENCE), True
        if thread.is_alive() and time.monotonic() > end:
            if interrupted:
                raise KeyboardInterrupt
            raise UserError(
                f"workers did not start within {limit:g} s. Is the folder for temporary files on a disk that answers?"
            )
    if errors:
        raise errors[0]
    return results[0]


BUILD, INFER = {"BUILD": 1}, {"INFER": 1}
"""Resources: a worker has one of them, and every task names the one it needs."""
WAITING = 2
"""Blocks that wait for each worker that finishes blocks, or are on their way to it, while it works on another."""


@dataclass(frozen=True)
class Workforce:
    """What the pipeline needs to know of its workers.

    Attributes:
        client: Connected to their scheduler.
        builders: How many have the resource BUILD, once all are there.
        inference: How many have the resource INFER, once all are there.
        unlabelled: How many have neither; they count only where nobody has one.
        check: Raises UserError when workers are gone that will not come back; called now and then.
        waiting: What the workers do, as far as is known, in a few words; asked for when nothing ends for long.
    """

    client: Client
    builders: int = 0
    inference: int = 0
    unlabelled: int = 0
    check: Callable[[], None] = lambda: None
    waiting: Callable[[], str] = lambda: ""

    @property
    def staged(self) -> bool:
        """Whether some build and others predict; else each worker does both."""
        return bool(self.builders and self.inference)

    @property
    def resources(self) -> dict[str, int]:
        """What a task that finishes a block needs."""
        return INFER if self.inference else BUILD if self.builders else {}

    @property
    def finishers(self) -> int:
        """Workers that finish blocks, once all are there."""
        return max(1, self.inference or self.builders or self.unlabelled)

    @property
    def slots(self) -> int:
        """Blocks in flight: enough that no worker waits, and no more, whatever the size of the space."""
        if self.staged:
            return self.builders + (1 + WAITING) * self.inference
        return WAITING * self.finishers


log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1:0"
"""Where Dask's web server listens, which it always has; it tells that the process lives, and nothing else."""
NO_DASHBOARD = {"dashboard": False, "dashboard_address": LOOPBACK}
DEATH_TIMEOUT = 120
"""Seconds after which a worker that finds no scheduler ends."""
LOOK_FOR_WORKERS = 0.2
"""Seconds between looks whether workers came."""


@contextmanager
def remote_cluster(security: Security, interface: str | None) -> Iterator[tuple[SpecCluster, Client]]:
    """Start a scheduler that listens on the network, for workers that somebody else starts.

    Args:
        security: Certificates of the run.
        interface: Of the network; None takes the one by which other hosts are reached.

    Raises:
        UserError: It cannot listen there.
    """
    import dask
    from distributed import Client, Scheduler, SpecCluster
    from distributed.utils import silence_logging_cmgr

    options = {"protocol": "tls://", "security": security, "interface": interface, **NO_DASHBOARD}
    scheduler = {"cls": Scheduler, "options": options}
    # Dask's own silence ends while it closes, and what is cut off then would be logged with tracebacks.
    silent = silence_logging_cmgr(logging.CRITICAL)
    with silent, dask.config.set(WORKER_SETTINGS), private_scratch(), ExitStack() as closing:
        with uninterrupted() as came:
            begin = partial(SpecCluster, scheduler=scheduler, security=security, silence_logs=logging.CRITICAL)
            try:
                cluster = started(begin, came)
                client = Client(closing.enter_context(cluster), security=security)
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(f"the scheduler cannot listen: {' '.join(str(error).split())}") from error
            closing.enter_context(client)
        try:
            yield cluster, client
        finally:
            with uninterrupted():
                closing.close()


def check_interface(interface: str | None, name: str) -> None:
    """Refuse a network interface that this machine does not have.

    Raises:
        UserError: Naming those that there are.
    """
    there = sorted(name for _, name in socket.if_nameindex())
    if interface is not None and interface not in there:
        raise UserError(f"{name}: interface {interface}: not on this machine, which has {', '.join(there)}.")


def worker_arguments(resources: Mapping[str, int]) -> list[str]:
    """Return options of `dask worker` that every worker of ours gets beside its name and address."""
    wanted = " ".join(f"{name}={count}" for name, count in resources.items())
    return ["--resources", wanted, "--dashboard-address", LOOPBACK, "--no-dashboard"]


def tls_arguments(security: Security) -> tuple[str, ...]:
    """Return options of `dask worker` that name the files of the run's certificate."""
    tls = security.get_tls_config_for_role("worker")
    files = ("--tls-ca-file", tls["ca_file"], "--tls-cert", tls["cert"], "--tls-key", tls["key"])
    return ("--protocol", "tls://", *files)


def inherited() -> str:
    """Our settings of Dask in the form in which a worker finds them in its environment."""
    import dask

    nested: dict[str, Any] = {}
    with dask.config.set(WORKER_SETTINGS, config=nested):
        return f"DASK_INTERNAL_INHERIT_CONFIG={dask.config.serialize(nested)}"


def wait_for(come: Callable[[], bool], patience: float, explain: Callable[[], str], check: Callable[[], None]) -> None:
    """Wait until workers came; say on the log now and then what it is that we wait for.

    Args:
        come: Whether enough are there.
        patience: Seconds between two explanations.
        explain: One line.
        check: Raises when nobody will come any more.
    """
    told = time.monotonic()
    while not come():
        check()
        time.sleep(LOOK_FOR_WORKERS)
        if time.monotonic() - told > patience:
            told = time.monotonic()
            log.warning("waiting for workers: %s", explain())


def workers(client: Client) -> list[dict[str, Any]]:
    """Ask the scheduler about all its workers; some versions of Dask report five."""
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def names(client: Client) -> list[str]:
    """Return names of the workers that are there."""
    return [str(worker["name"]) for worker in workers(client)]


def describe(client: Client) -> str:
    """Say how many workers there are, and when the one that is silent for longest was heard of."""
    there = workers(client)
    if not there:
        return "no worker is there"
    silent = Counter({worker["name"]: time.time() - worker["last_seen"] for worker in there})
    name, seconds = silent.most_common(1)[0]
    return f"{len(there)} workers are there; the most silent, {name}, was heard of {max(seconds, 0):.0f} s ago"


def scheduler_address(text: str) -> str:
    """Return the address in a scheduler file's text.

    Raises:
        ValueError: There is none.
    """
    try:
        return str(json.loads(text)["address"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it has no address") from error
