"""The workers of a run, whoever started them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening.cluster.choice import Choice, Running
from screening.cluster.profile import AllocationProfile, LocalProfile, SlurmProfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import Client

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
    """

    client: Client
    builders: int = 0
    inference: int = 0
    unlabelled: int = 0
    check: Callable[[], None] = lambda: None

    @property
    def staged(self) -> bool:
        """Whether some build and others predict; else each worker does both."""
        return bool(self.builders and self.inference)

    @property
    def resources(self) -> dict[str, int]:
        """What a task that finishes a block needs."""
        return INFER if self.inference else BUILD if self.builders else {}

    @property
    def slots(self) -> int:
        """Blocks in flight: enough that no worker waits, and no more, whatever the size of the space."""
        if self.staged:
            return self.builders + (1 + WAITING) * self.inference
        return WAITING * max(1, self.inference or self.builders or self.unlabelled)


def preflight(choice: Choice) -> None:
    """Find out, before a run is made, whether its workers can be had; nothing is started.

    Raises:
        UserError: What is needed is missing, refused or unreachable.
    """
    match choice.source:
        case SlurmProfile():
            from screening.cluster.slurm import check_jobs  # noqa: PLC0415  # each imports what only it needs

            check_jobs(choice.source, choice.name)
        case AllocationProfile():
            from screening.cluster.allocation import components  # noqa: PLC0415

            components()
        case Running():
            from screening.cluster.running import connect  # noqa: PLC0415

            with connect(choice.source.address):
                pass


@contextmanager
def start(choice: Choice, blocks: int) -> Iterator[Workforce]:
    """Start or find the workers of a choice, and stop those that it started.

    Args:
        choice: Where workers come from.
        blocks: How many there are to do: no more processes than that are started on this machine.

    Raises:
        UserError: What is needed is missing, refused or unreachable.
    """
    with _source(choice, blocks) as workforce:
        yield workforce


def _source(choice: Choice, blocks: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  # a context manager of Workforce
    match choice.source:
        case LocalProfile():
            from screening.cluster.local import local_workers  # noqa: PLC0415  # each imports what only it needs

            return local_workers(min(choice.builders, blocks), min(choice.inference, blocks))
        case SlurmProfile():
            from screening.cluster.slurm import slurm_workers  # noqa: PLC0415

            return slurm_workers(choice.source, choice.name, choice.builders)
        case AllocationProfile():
            from screening.cluster.allocation import allocation_workers  # noqa: PLC0415

            return allocation_workers(choice.source, choice.name)
        case Running():
            from screening.cluster.running import running_workers  # noqa: PLC0415

            return running_workers(choice.source.address)
