"""Relaxations on workers, or in this process: each is a task that keeps its own result."""

from __future__ import annotations

import uuid
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.cluster import Choice, start
from screening.cluster.profile import LocalProfile
from screening.cluster.settings import DEATHS, HEALTH
from screening.results.relaxation.records import Relaxed
from screening.results.relaxation.relax import relax

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Future

    from screening.cluster.workforce import Workforce
    from screening.engine.notice import Notice
    from screening.results.relaxation.folder import Folder
    from screening.results.relaxation.records import Settings, Task


def relax_all(
    tasks: Sequence[Task], settings: Settings, folder: Folder, choice: Choice, notice: Notice
) -> Iterator[Relaxed]:
    """Relax structures and keep the results; they come in order of completion.

    Args:
        tasks: What to relax.
        settings: How.
        folder: Where results are kept; workers must see it.
        choice: Of workers.
        notice: Once it comes, nothing more is waited for; what is under way has its checkpoint.

    Raises:
        UserError: There is no such calculator, workers cannot be had, or a result cannot be kept.
    """
    work = partial(relax_and_keep, settings, folder)
    if isinstance(choice.source, LocalProfile) and not choice.inference and min(choice.workers, len(tasks)) == 1:
        for task in tasks:
            if notice:
                return
            yield work(task)
        return
    with start(choice, len(tasks)) as force:
        under_way: dict[Future[Relaxed], Task] = {}
        ended: SimpleQueue[Future[Relaxed]] = SimpleQueue()
        name = uuid.uuid4()
        for task in tasks:
            key, needs = f"relax-{task.key}-{name}", force.resources or None
            future = force.client.submit(work, task, key=key, resources=needs, pure=False)
            under_way[future] = task
            future.add_done_callback(ended.put)
        while under_way and not notice:
            try:
                future = ended.get(timeout=HEALTH)
            except Empty:
                force.check()
                continue
            task = under_way.pop(future)
            yield _result(future, task, folder, force)
            future.release()


def relax_and_keep(settings: Settings, folder: Folder, task: Task) -> Relaxed:
    """Relax a structure and keep the result; what a worker does."""
    found = relax(task, settings, folder.checkpoint_path(task))
    folder.save(task, found)
    return found


def _result(future: Future[Relaxed], task: Task, folder: Folder, force: Workforce) -> Relaxed:
    """What a worker reports; of a structure that no worker survived, a row that says so."""
    from distributed import CancelledError, KilledWorker

    while True:
        try:
            return future.result(timeout=HEALTH)
        except KilledWorker:
            lost = Relaxed(task.index, task.formula, task.tilts, f"{DEATHS} workers died on it", _volume(task))
            folder.save(task, lost)
            return lost
        except TimeoutError:
            force.check()
        except (CancelledError, OSError) as error:
            raise UserError("the connection to the Dask scheduler is lost. The same again goes on.") from error


def _volume(task: Task) -> float:
    """Å³/atom of the start."""
    return float(task.structure["lattice"]["volume"]) / len(task.structure["sites"])
