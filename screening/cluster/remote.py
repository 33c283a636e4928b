"""A scheduler in this process for workers on other nodes: encrypted, and stopped with the run."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from screening.cluster.settings import WORKER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client, Security, SpecCluster

LOOPBACK = "127.0.0.1:0"
"""Where dashboards listen: on a port of their own that no other machine reaches."""
DEATH_TIMEOUT = 120
"""Seconds after which a worker that finds no scheduler ends."""
LOST = "1 minute"
"""How long Dask waits for a worker that was lost before it cancels its job: a nanny may be restarting it."""
LOOK = 0.2
"""Seconds between looks whether workers came."""


@contextmanager
def remote_cluster(
    security: Security, interface: str | None, workers: Mapping[str, Any]
) -> Iterator[tuple[SpecCluster, Client]]:
    """A scheduler that listens on the network, with workers as Dask's `SpecCluster` takes them.

    Args:
        security: Certificates of the run.
        interface: Of the network; None takes the one by which other hosts are reached.
        workers: Name -> {"cls", "options"}.
    """
    import dask  # noqa: PLC0415  # half a second that planning does without
    from distributed import Client, Scheduler, SpecCluster  # noqa: PLC0415

    options = {"protocol": "tls://", "security": security, "interface": interface, "dashboard_address": LOOPBACK}
    with (
        dask.config.set({**WORKER_SETTINGS, "distributed.deploy.lost-worker-timeout": LOST}),
        SpecCluster(
            workers=workers,
            scheduler={"cls": Scheduler, "options": options},
            security=security,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, security=security) as client,
    ):
        yield cluster, client


def worker_arguments(resources: Mapping[str, int]) -> list[str]:
    """Options of `dask worker` that every worker of ours gets beside its name and address."""
    wanted = " ".join(f"{name}={count}" for name, count in resources.items())
    return ["--resources", wanted, "--dashboard-address", LOOPBACK, "--no-dashboard"]


def inherited() -> str:
    """Our settings of Dask in the form in which a worker finds them in its environment."""
    import dask  # noqa: PLC0415

    nested: dict[str, Any] = {}
    with dask.config.set(WORKER_SETTINGS, config=nested):
        return f"DASK_INTERNAL_INHERIT_CONFIG={dask.config.serialize(nested)}"


def wait_for(come: Callable[[], bool], patience: float, explain: Callable[[], str], check: Callable[[], None]) -> None:
    """Wait until workers came; say on stderr now and then what it is that we wait for.

    Args:
        come: Whether enough are there.
        patience: Seconds between two explanations.
        explain: One line.
        check: Raises when nobody will come any more.
    """
    told = time.monotonic()
    while not come():
        check()
        time.sleep(LOOK)
        if time.monotonic() - told > patience:
            told = time.monotonic()
            sys.stderr.write(f"waiting for workers: {explain()}\n")
            sys.stderr.flush()


def names(client: Client) -> list[str]:
    """Names of the workers that are there."""
    return [str(worker["name"]) for worker in client.scheduler_info()["workers"].values()]


def scheduler_info(text: str) -> str:
    """The address in a scheduler file's text."""
    return str(json.loads(text)["address"])
