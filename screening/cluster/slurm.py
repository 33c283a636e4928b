"""From a login node: one scheduler here, two kinds of SLURM jobs for it, and a keeper that replaces lost ones."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.cluster import queue
from screening.cluster.jobs import Template, templates
from screening.cluster.limits import FILES_OF_A_WORKER_ELSEWHERE, make_room
from screening.cluster.remote import check_interface, describe, names, remote_cluster, wait_for
from screening.cluster.signals import uninterrupted
from screening.cluster.tls import certificates
from screening.cluster.workforce import Workforce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from screening.cluster.profile import SlurmProfile
    from screening.cluster.queue import State

INTERVAL = 5.0
"""Seconds between two looks at the queue."""
ABSENT = 2
"""Looks in which SLURM must not know a job, one after the other, before it counts as gone."""
FUTILE = 3
"""Times that every job of a kind may end before a worker came; then there is something wrong with the profile."""


@contextmanager
def slurm_workers(profile: SlurmProfile, name: str, builders: int) -> Iterator[Workforce]:
    """Submit the jobs of a profile, keep their number, and cancel them at the end.

    Args:
        profile: What to ask SLURM for.
        name: Of the profile, for messages.
        builders: Jobs that build.

    Raises:
        UserError: SLURM does not take the jobs, or they all end before a worker came.
    """
    wanted = {kind: count for kind, count in (("build", builders), ("infer", profile.inference.count)) if count}
    make_room(sum(wanted.values()), FILES_OF_A_WORKER_ELSEWHERE)
    with certificates(profile.logs) as security, remote_cluster(security, profile.interface) as (cluster, client):

        def present() -> set[str]:
            return {str(worker["name"]) for worker in list(cluster.scheduler_info["workers"].values())}

        kinds = templates(profile, cluster.scheduler_address, security)
        keeper = Keeper(kinds, wanted, present, name, str(profile.logs))
        with keeper.at_work():
            wait_for(
                lambda: {text.partition("-")[0] for text in names(client)} >= set(wanted),
                profile.patience,
                keeper.states,
                keeper.check,
            )
            yield Workforce(
                client, builders, profile.inference.count, check=keeper.check, waiting=lambda: describe(client)
            )


def check_jobs(profile: SlurmProfile, name: str, builders: int) -> None:
    """Ask SLURM whether it would take the jobs of a profile; nothing is submitted.

    Raises:
        UserError: SLURM is not here or refuses such jobs, or the profile asks for none.
    """
    if not builders + profile.inference.count:
        raise UserError(f"{name}: asks for no job. Give `builders` or `inference` a count of 1 or more.")
    check_interface(profile.interface, name)
    for kind, template in templates(profile, "tls://0.0.0.0:0").items():
        if builders if kind == "build" else profile.inference.count:
            queue.check(template.arguments, template.script("check"), f"the {kind} jobs of {name}")


@dataclass
class Keeper:
    """Keeps the wanted number of jobs of each kind in the queue or running.

    Jobs are asked for by number, and none is given up lightly, for a wrong answer would flood the queue: a job has
    ended if SLURM says so; or if SLURM does not know it, twice in a row, and its worker is not with us either. What is
    given up is cancelled all the same, and so there are never more jobs than are wanted. It is replaced under a new
    name, unless too many jobs came to nothing.

    Attributes:
        templates: Kind -> how its jobs are submitted.
        wanted: Kind -> number of jobs.
        present: Names of the workers that are connected.
        name: Of the profile, for messages.
        logs: Where the jobs' logs are, for messages.
        problem: What is wrong, once there is no point in going on.
    """

    templates: Mapping[str, Template]
    wanted: Mapping[str, int]
    present: Callable[[], set[str]]
    name: str
    logs: str
    problem: str = ""
    _jobs: dict[str, str] = field(default_factory=dict)
    """Name of the worker -> number of its job."""
    _came: set[str] = field(default_factory=set)
    _absent: Counter[str] = field(default_factory=Counter)
    _futile: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Submit the jobs, keep them in a thread, and cancel them at the end, whatever happens in between.

        Raises:
            UserError: SLURM does not take them.
        """
        thread = threading.Thread(target=self._keep, name="slurm-keeper", daemon=True)
        try:
            with uninterrupted() as came:
                self._fill(came)
                thread.start()
            yield
        finally:
            with uninterrupted():
                self._stop.set()
                if thread.ident is not None:
                    thread.join()
                queue.cancel(list(self._jobs.values()))

    def check(self) -> None:
        """Raise UserError once there is no point in going on."""
        if self.problem:
            raise UserError(self.problem)

    def states(self) -> str:
        """What SLURM says of our jobs, in one line."""
        jobs = dict(self._jobs)
        listed = queue.states(list(jobs.values()))
        if listed is None:
            return "SLURM does not answer"
        found = Counter(f"{_kind(name)} job {listed.get(number, 'unknown')}" for name, number in jobs.items())
        return ", ".join(f"{count} {text}" for text, count in sorted(found.items())) or "no job in the queue"

    def _keep(self) -> None:
        while not self._stop.wait(INTERVAL) and not self.problem:
            try:
                self._look()
            except UserError as error:  # SLURM did not take a job now: it may the next time
                self._futile["sbatch"] += 1
                if self._futile["sbatch"] >= FUTILE:
                    self.problem = str(error)
            except Exception as error:  # noqa: BLE001  # a keeper that dies unseen would leave the run waiting for ever
                self.problem = f"{self.name}: the jobs cannot be kept ({type(error).__name__}: {error})."

    def _look(self) -> None:
        jobs = dict(self._jobs)
        connected = self.present()
        self._came |= connected
        listed = queue.states(list(jobs.values()))
        if listed is None:
            return
        for name, number in jobs.items():
            state = listed.get(number)
            self._absent[name] = 0 if state else self._absent[name] + 1
            gone = state.ended if state else name not in connected and self._absent[name] >= ABSENT
            if gone:
                self._give_up(name, state)
        if not self.problem:
            self._fill()

    def _give_up(self, name: str, state: State | None) -> None:
        kind = _kind(name)
        queue.cancel([self._jobs.pop(name)])
        if name in self._came:
            self._futile[kind] = 0
            return
        self._futile[kind] += 1 if state else FUTILE  # what SLURM never heard of will not do better the next time
        if self._futile[kind] >= FUTILE * self.wanted[kind]:
            what = f"ended before their workers came, the last one {state}" if state else "are not known to squeue"
            self.problem = f"{self.name}: the {kind} jobs {what}. See their logs in {self.logs}."

    def _fill(self, came: Callable[[], bool] = lambda: False) -> None:
        """Submit what is missing, unless a signal `came`.

        Raises:
            UserError: SLURM does not take one.
        """
        there = Counter(map(_kind, self._jobs))
        for kind, count in self.wanted.items():
            template = self.templates[kind]
            for _ in range(count - there[kind]):
                if self._stop.is_set() or came():
                    return
                name = f"{kind}-{next(self._numbers)}"
                what = f"the {kind} jobs of {self.name}"
                self._jobs[name] = queue.submit(template.arguments, template.script(name), what)
                self._futile["sbatch"] = 0


def _kind(name: str) -> str:
    """Of a worker, by its name."""
    return name.partition("-")[0]
