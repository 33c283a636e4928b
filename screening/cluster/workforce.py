"""The workers of a run, whoever started them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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
