"""Workers on this machine: processes of one thread each, reachable over loopback alone, with a certificate."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.cluster.profile import gpus
from screening.cluster.scheduler import (
    BUILD,
    HEALTH,
    INFER,
    LIMIT,
    NO_DASHBOARD,
    WORKER_SETTINGS,
    Workforce,
    describe,
    make_room,
    not_startable,
    started,
    uninterrupted,
)
from screening.cluster.security import in_memory, private_scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import LocalCluster

SILENT = logging.CRITICAL + 1
"""Level of Dask's logs: it calls lost connections critical."""
FUTILE = 10
"""Times that each worker may be replaced with none ever there, before that is an error."""


@contextmanager
def local_workers(builders: int, inference: int) -> Iterator[Workforce]:
    """Start workers on this machine.

    Args:
        builders: Processes that build, or that do all where there is no other kind.
        inference: Processes that predict, each with a GPU of its own while there are GPUs.

    Raises:
        UserError: A limit of this machine lets too few processes, threads or files be, or the workers all end before
            they are ready.
    """
    make_room(builders + inference)
    import dask
    from distributed import Client, LocalCluster
    from distributed.utils import silence_logging_cmgr

    silent = silence_logging_cmgr(SILENT)  # Dask's own silence ends while it closes
    with silent, dask.config.set(WORKER_SETTINGS), private_scratch() as scratch, ExitStack() as closing:
        with uninterrupted() as came, not_startable():
            security = in_memory()
            begin = partial(
                LocalCluster,
                n_workers=builders,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                security=security,  # other users of this machine can reach loopback too
                local_directory=str(scratch),
                scheduler_kwargs=NO_DASHBOARD,
                silence_logs=SILENT,
                resources=BUILD,
            )
            cluster = started(begin, came, LIMIT + builders)
            client = closing.enter_context(Client(closing.enter_context(cluster), security=security))
            _add_inference(cluster, inference)
            keeper = WorkerPool(cluster, builders + inference)
            keeper.start()
        try:
            yield Workforce(client, builders, inference, check=keeper.check, waiting=lambda: describe(client))
        finally:
            with uninterrupted():
                closing.close()


def _add_inference(cluster: LocalCluster, count: int) -> None:
    """Beside the builders, workers of the other kind."""
    kind = cluster.new_spec
    for number, gpu in zip(range(count), chain(gpus(), repeat(None)), strict=False):
        environment = {} if gpu is None else {"env": {"CUDA_VISIBLE_DEVICES": gpu}}
        options = {**kind["options"], "resources": INFER, **environment}
        cluster.worker_spec[f"infer-{number}"] = {**kind, "options": options}
    cluster.scale(len(cluster.worker_spec))


class WorkerPool:
    """Replaces worker processes that stay dead.

    Dask restarts a worker that dies at work, but not one that dies while it starts; and it forgets one that takes
    long to come back. A run whose workers are all lost in one of these ways would wait for ever.
    """

    def __init__(self, cluster: LocalCluster, workers: int) -> None:
        self._cluster, self._workers = cluster, workers
        self._dead: set[object] = set()
        self._replaced = 0

    def start(self) -> None:
        """Look now and then, in the cluster's own thread."""
        from tornado.ioloop import PeriodicCallback

        async def begin() -> None:
            self._cluster.periodic_callbacks["keep-alive"] = PeriodicCallback(self._look, HEALTH * 1000)
            self._cluster.periodic_callbacks["keep-alive"].start()

        self._cluster.sync(begin)

    def check(self) -> None:
        """Raise UserError once workers end again and again, and none is there."""
        if self._replaced >= FUTILE * self._workers:
            raise UserError(
                f"{self._replaced} worker processes ended one after the other, and none is there. Is there enough "
                "memory, and what do ulimit -u, -n and -v say?"
            )

    async def _look(self) -> None:
        if self._cluster.scheduler_info["workers"]:
            self._replaced = 0
        for name, nanny in list(self._cluster.workers.items()):
            if nanny.is_alive():
                self._dead.discard(nanny)
            elif nanny in self._dead:
                self._dead.discard(nanny)
                self._replaced += 1
                self._cluster.workers.pop(name, None)
                await nanny.close()
            else:
                self._dead.add(nanny)
        if len(self._cluster.workers) < self._workers:
            self._cluster.scale(self._workers)
