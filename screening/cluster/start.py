"""Workers of a choice: whether they can be had, and how they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from screening.cluster.choice import Choice, Running
from screening.cluster.profile import AllocationProfile, LocalProfile, SlurmProfile

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from screening.cluster.workforce import Workforce


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
