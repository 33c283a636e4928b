"""A scheduler in this process for workers on other nodes: encrypted, and stopped with the run."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from screening.cluster.scratch import private_scratch
from screening.cluster.settings import WORKER_SETTINGS
from screening.cluster.signals import started, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client, Security, SpecCluster

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1:0"
"""Where Dask's web server listens, which it always has; it tells that the process lives, and nothing else."""
NO_DASHBOARD = {"dashboard": False, "dashboard_address": LOOPBACK}
DEATH_TIMEOUT = 120
"""Seconds after which a worker that finds no scheduler ends."""
LOOK = 0.2
"""Seconds between looks whether workers came."""


@contextmanager
def remote_cluster(security: Security, interface: str | None) -> Iterator[tuple[SpecCluster, Client]]:
    """A scheduler that listens on the network, for workers that somebody else starts.

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
    """Options of `dask worker` that every worker of ours gets beside its name and address."""
    wanted = " ".join(f"{name}={count}" for name, count in resources.items())
    return ["--resources", wanted, "--dashboard-address", LOOPBACK, "--no-dashboard"]


def tls_arguments(security: Security) -> tuple[str, ...]:
    """Options of `dask worker` that name the files of the run's certificate."""
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
        time.sleep(LOOK)
        if time.monotonic() - told > patience:
            told = time.monotonic()
            log.warning("waiting for workers: %s", explain())


def workers(client: Client) -> list[dict[str, Any]]:
    """What the scheduler knows of each worker that is there: of all, where some versions of Dask tell of five."""
    return list(client.scheduler_info(n_workers=-1)["workers"].values())


def names(client: Client) -> list[str]:
    """Names of the workers that are there."""
    return [str(worker["name"]) for worker in workers(client)]


def describe(client: Client) -> str:
    """How many workers there are, and when the one that is silent for longest was heard of."""
    there = workers(client)
    if not there:
        return "no worker is there"
    silent = Counter({worker["name"]: time.time() - worker["last_seen"] for worker in there})
    name, seconds = silent.most_common(1)[0]
    return f"{len(there)} workers are there; the most silent, {name}, was heard of {max(seconds, 0):.0f} s ago"


def scheduler_address(text: str) -> str:
    """The address in a scheduler file's text.

    Raises:
        ValueError: There is none.
    """
    try:
        return str(json.loads(text)["address"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it has no address") from error
