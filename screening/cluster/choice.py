"""Workers of a choice: whether they can be had, and how they are started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.machine import cores
from screening.cluster.profile import (
    AllocationProfile,
    LocalProfile,
    Profile,
    SlurmProfile,
    counted,
    gpus,
    read_profile,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from screening.cluster.scheduler import Workforce


ASSUMED_WORKERS = 32
"""Of a scheduler that somebody else runs: blocks are sized before it is asked. `workers` says it better."""


@dataclass(frozen=True)
class Running:
    """A scheduler that runs already.

    Attributes:
        address: tls://HOST:PORT, or the path of the JSON file that the scheduler wrote.
    """

    address: str


@dataclass(frozen=True)
class Choice:
    """Where workers come from, and how many at most.

    Attributes:
        source: A profile or a scheduler.
        name: As the user wrote it, for messages.
        builders: Worker processes that build, or that do both where there is no other kind.
        inference: Worker processes that only predict.
    """

    source: Profile | Running
    name: str
    builders: int
    inference: int

    def __str__(self) -> str:
        if isinstance(self.source, Running):
            return f"workers of {self.name}"
        kinds = f"{self.builders} workers" + (f" and {self.inference} for inference" if self.inference else "")
        return kinds if self.name == "local" else f"{kinds} ({self.name})"

    @property
    def workers(self) -> int:
        """Processes that finish blocks, by which blocks are sized."""
        return self.inference or self.builders


def choose(cluster: str, workers: int | None) -> Choice:
    """Resolve `cluster` and `workers`.

    Raises:
        UserError: The profile cannot be read, or the address is no scheduler's.
    """
    if "://" in cluster or cluster.endswith(".json"):
        return Choice(_running(cluster), cluster, workers or ASSUMED_WORKERS, 0)
    profile = read_profile(cluster)
    return Choice(profile, cluster, *_counts(profile, workers))


def _counts(profile: Profile, workers: int | None) -> tuple[int, int]:
    match profile:
        case LocalProfile():
            inference = len(gpus()) if profile.inference is None else profile.inference
            return workers or profile.builders or cores(), inference
        case SlurmProfile():
            return workers or profile.builders.count, profile.inference.count
        case AllocationProfile():
            return _tasks("SLURM_NTASKS_HET_GROUP_0", "SLURM_NTASKS"), _tasks("SLURM_NTASKS_HET_GROUP_1")


def _tasks(*names: str) -> int:
    return next((counted(name) for name in names if name in os.environ), 0)


def _running(address: str) -> Running:
    if address.endswith(".json") and "://" not in address:
        if not Path(address).is_file():
            raise UserError(f"`cluster` {address}: no such file. Pass the file that the scheduler wrote.")
    elif not address.startswith(("tls://", "tcp://127.0.0.1:")):
        raise UserError(f"`cluster` {address}: not encrypted. Start the scheduler with TLS and pass tls://HOST:PORT.")
    return Running(address)


def preflight(choice: Choice) -> None:
    """Find out, before a run is made, whether its workers can be had; nothing is started.

    Raises:
        UserError: What is needed is missing, refused or unreachable.
    """
    match choice.source:
        case SlurmProfile():
            from screening.cluster.slurm import check_jobs

            check_jobs(choice.source, choice.name, choice.builders)
        case AllocationProfile():
            from screening.cluster.allocation import components

            components()
        case Running():
            from screening.cluster.running import connect

            with connect(choice.source.address):
                pass


def start(choice: Choice, blocks: int) -> AbstractContextManager[Workforce]:
    """Start or find the workers of a choice, and stop those that it started.

    Args:
        choice: Where workers come from.
        blocks: How many there are to do: no more processes than that are started on this machine.

    Raises:
        UserError: What is needed is missing, refused or unreachable.
    """
    match choice.source:
        case LocalProfile():
            from screening.cluster.local import local_workers

            return local_workers(min(choice.builders, blocks), min(choice.inference, blocks))
        case SlurmProfile():
            from screening.cluster.slurm import slurm_workers

            return slurm_workers(choice.source, choice.name, choice.builders)
        case AllocationProfile():
            from screening.cluster.allocation import allocation_workers

            return allocation_workers(choice.source, choice.name)
        case Running():
            from screening.cluster.running import running_workers

            return running_workers(choice.source.address)
