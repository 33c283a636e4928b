"""A scheduler that somebody else started: workers are what is found there."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.files import read_text
from screening.cluster.scheduler import Workforce, describe, names, scheduler_address, wait_for, workers
from screening.cluster.security import private_scratch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

CONNECT = 15
"""Seconds in which a scheduler must answer."""
PATIENCE = 10.0
"""Seconds between two reminders that no worker is there yet."""


@contextmanager
def running_workers(address: str) -> Iterator[Workforce]:
    """Use the workers of a scheduler; they and it are left as they are at the end.

    Args:
        address: tls://HOST:PORT, or the path of the JSON file that the scheduler wrote.

    Raises:
        UserError: As `connect`.
    """
    from distributed.utils import silence_logging_cmgr

    # A lost scheduler is an error of one line; Dask's client would log its attempts to reach it, also at the end.
    quiet = silence_logging_cmgr(logging.CRITICAL, "distributed.client")
    with private_scratch(), quiet, connect(address) as client:
        wait_for(lambda: bool(names(client)), PATIENCE, lambda: f"none at {address} yet", lambda: None)
        found = [worker["resources"] for worker in workers(client)]
        builders, inference = sum("BUILD" in has for has in found), sum("INFER" in has for has in found)
        yield Workforce(client, builders, inference, unlabelled=len(found), waiting=lambda: describe(client))


def connect(address: str) -> Client:
    """Connect a client to a scheduler, with the certificates of Dask's configuration.

    These are `distributed.comm.tls` there, or DASK_DISTRIBUTED__COMM__TLS__… in the environment.

    Raises:
        UserError: Nobody answers there, the certificates are not those of the scheduler, or it is not encrypted.
    """
    from distributed import Client, Security
    from distributed.utils import silence_logging_cmgr

    where, security = _address(address), Security()
    if where.startswith("tls://") and not security.get_tls_config_for_role("client")["cert"]:
        raise UserError(
            f"`cluster` {address}: needs a certificate. Set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
            "…__CLIENT__KEY to the files that the scheduler has."
        )
    try:
        with silence_logging_cmgr(logging.CRITICAL):
            return Client(where, security=security, timeout=CONNECT)
    except (OSError, TypeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"`cluster` {address}: no scheduler answers ({reason}). Does it run, and with these certificates?"
        ) from None


def _address(address: str) -> str:
    if "://" in address:
        return address
    try:
        where = scheduler_address(read_text(address))
    except (OSError, ValueError) as error:
        raise UserError(f"`cluster` {address}: not a file that a scheduler wrote ({error}).") from None
    if not where.startswith(("tls://", "tcp://127.0.0.1:")):
        raise UserError(f"`cluster` {address}: {where} is not encrypted. Start the scheduler with TLS.")
    return where
