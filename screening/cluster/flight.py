"""Work in flight on a workforce: what a screen and relaxations share of handling futures."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cgcnn.errors import UserError
from screening.cluster.scheduler import HEALTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from distributed import Future

    from screening.cluster.scheduler import Workforce

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds without a result after which the log says what is waited for; a block takes some seconds to a minute."""


class Flight(Generic[Item, Result]):
    """Items whose results workers owe.

    Attributes:
        under_way: Future → item, of those without a result yet.
    """

    def __init__(self, force: Workforce, describe: Callable[[Iterable[Item]], str], remedy: str) -> None:
        """Begin with nothing in flight.

        Args:
            force: The workers.
            describe: Names items for the log, such as "block 3, 4".
            remedy: What to do if the scheduler is lost.
        """
        self._force, self._describe, self._remedy = force, describe, remedy
        self._ended: SimpleQueue[Future[Result]] = SimpleQueue()
        self._heard = time.monotonic()
        self._patience = PATIENCE
        self.under_way: dict[Future[Result], Item] = {}

    def submit(self, item: Item, work: Callable[..., Result], *arguments: Any, key: str, resources: Any) -> None:
        """Hand an item out to a worker that has the resources; without them any worker does."""
        future = self._force.client.submit(work, *arguments, key=key, resources=resources or None, pure=False)
        self.under_way[future] = item
        future.add_done_callback(self._ended.put)

    def ended(self) -> Iterator[tuple[Item, Result | None]]:
        """Return what ended since: at least one item if all goes well, none after some time in which nothing did.

        The result is None if too many workers died on the item.

        Raises:
            UserError: There are no workers any more, or the scheduler is lost.
        """
        try:
            futures = [self._ended.get(timeout=HEALTH)]
        except Empty:
            self._force.check()
            self._explain_silence()
            return
        self._heard = time.monotonic()
        with suppress(Empty):
            while True:
                futures.append(self._ended.get_nowait())
        for future in futures:
            item = self.under_way.pop(future)
            result = self._result(future)
            future.release()
            yield item, result

    def _result(self, future: Future[Result]) -> Result | None:
        """Fetch a result; it can be lost with its worker, and others then do the work again, if there are any."""
        from distributed import CancelledError, KilledWorker

        while True:
            try:
                return future.result(timeout=HEALTH)
            except KilledWorker:
                return None
            except TimeoutError:
                self._force.check()
            except (CancelledError, OSError) as error:  # OSError: Dask's errors of communication
                raise UserError(f"the connection to the Dask scheduler is lost. {self._remedy}") from error

    def _explain_silence(self) -> None:
        """Log what is waited for if nothing has ended for long; each time after twice as long."""
        silence = time.monotonic() - self._heard
        if silence < self._patience:
            return
        self._patience = 2 * silence
        items = self._describe(self.under_way.values())
        log.warning("waiting for %s, none ended for %.0f s: %s", items, silence, self._force.waiting())


def shortened(names: list[str]) -> str:
    """Join the first five names, with an ellipsis for others."""
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
