"""Workers on this machine: processes of one thread each, reachable over loopback alone."""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from screening.cluster.choice import gpus
from screening.cluster.settings import HEALTH, WORKER_SETTINGS
from screening.cluster.workforce import BUILD, INFER, Workforce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import LocalCluster


@contextmanager
def local_workers(builders: int, inference: int) -> Iterator[Workforce]:
    """Workers on this machine.

    Args:
        builders: Processes that build, or that do all where there is no other kind.
        inference: Processes that predict, each with a GPU of its own while there are GPUs.
    """
    import dask  # noqa: PLC0415  # half a second that planning and ranking do without
    from distributed import Client, LocalCluster  # noqa: PLC0415

    with dask.config.set(WORKER_SETTINGS), ExitStack() as closing:
        with _uninterrupted():
            cluster = LocalCluster(
                n_workers=builders,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL + 1,  # it calls lost connections critical
                resources=BUILD,
            )
            client = closing.enter_context(Client(closing.enter_context(cluster)))
            _add_inference(cluster, inference)
            _keep_alive(cluster, builders + inference)
        try:
            yield Workforce(client, builders, inference)
        finally:
            with _uninterrupted():
                closing.close()


def _add_inference(cluster: LocalCluster, count: int) -> None:
    """Beside the builders, workers of the other kind."""
    kind = cluster.new_spec
    for number, gpu in zip(range(count), chain(gpus(), repeat(None)), strict=False):
        environment = {} if gpu is None else {"env": {"CUDA_VISIBLE_DEVICES": gpu}}
        options = {**kind["options"], "resources": INFER, **environment}
        cluster.worker_spec[f"infer-{number}"] = {**kind, "options": options}
    cluster.scale(len(cluster.worker_spec))


def _keep_alive(cluster: LocalCluster, workers: int) -> None:
    """Replace worker processes that stay dead.

    Dask restarts a worker that dies at work, but not one that dies while it starts; and it forgets one that takes
    long to come back. A run whose workers are all lost in one of these ways would wait for ever.
    """
    from tornado.ioloop import PeriodicCallback  # noqa: PLC0415  # comes with distributed, as slow to import

    dead: set[object] = set()

    async def look() -> None:
        for name, nanny in list(cluster.workers.items()):
            if nanny.is_alive():
                dead.discard(nanny)
            elif nanny in dead:
                dead.discard(nanny)
                cluster.workers.pop(name, None)
                await nanny.close()
            else:
                dead.add(nanny)
        if len(cluster.workers) < workers:
            cluster.scale(workers)

    async def start() -> None:
        cluster.periodic_callbacks["keep-alive"] = PeriodicCallback(look, HEALTH * 1000)
        cluster.periodic_callbacks["keep-alive"].start()

    cluster.sync(start)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: a cluster that is stopped half-way up or down leaves errors on the screen.

    Ctrl-C reaches every process of a terminal, but the client alone answers it, and stops its workers in order.
    Threads that begin here, and the processes that these start later, never get it.
    """
    resource_tracker.ensure_running()  # or whoever starts a process starts it, and that takes the mask away
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda came_, _: came.append(came_)) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
