"""From a login node: one scheduler here, two kinds of SLURM jobs for it, and a keeper that replaces lost ones."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cgcnn.errors import UserError
from screening.cluster import queue
from screening.cluster.remote import DEATH_TIMEOUT, inherited, names, remote_cluster, wait_for, worker_arguments
from screening.cluster.tls import certificates
from screening.cluster.walltime import lifetime
from screening.cluster.workforce import BUILD, INFER, Workforce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, SpecCluster

    from screening.cluster.profile import Jobs, SlurmProfile

INTERVAL = 5.0
"""Seconds between two looks at the queue."""
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
    wanted = {"build": builders, "infer": profile.inference.count}
    with certificates(profile.logs) as security:
        options = _options(profile, {"security": security})
        spec = {
            f"{kind}-{i}": {"cls": _job_class(), "options": asked}
            for kind, asked in options.items()
            for i in range(wanted[kind])
        }
        try:
            with remote_cluster(security, profile.interface, spec) as (cluster, client):
                keeper = Keeper(cluster, wanted, str(profile.logs))
                with keeper.at_work():
                    wait_for(lambda: _kinds(client) >= set(options), profile.patience, keeper.states, keeper.check)
                    yield Workforce(client, builders, profile.inference.count, check=keeper.check)
        except RuntimeError as error:
            raise UserError(f"SLURM did not take the jobs of {name}: {error}") from error


def check_jobs(profile: SlurmProfile, name: str) -> None:
    """Ask SLURM whether it would take the jobs of a profile; nothing is submitted.

    Raises:
        UserError: SLURM is not here or refuses such jobs.
    """
    for kind, asked in _options(profile, {}).items():
        script = _job_class()("tls://0.0.0.0:0", name="check", **asked).job_script()
        queue.check_script(script, f"the {kind} jobs of {name}")


@dataclass
class Keeper:
    """Keeps the wanted number of jobs of each kind in the queue or running.

    Dask forgets the job of a worker that is gone, and never learns of a job that ended before its worker came; it
    submits no other in either case. So the queue is asked: what is no longer in it is replaced, under a new name.

    Attributes:
        cluster: Whose jobs it keeps.
        wanted: Kind -> number of jobs.
        logs: Where the jobs' logs are, for messages.
        problem: What is wrong, once there is no point in going on.
    """

    cluster: SpecCluster
    wanted: dict[str, int]
    logs: str
    problem: str = ""
    _came: set[str] = field(default_factory=set)
    _futile: Counter[str] = field(default_factory=Counter)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the jobs in a thread."""
        stop = threading.Event()
        thread = threading.Thread(target=self._keep, args=(stop,), name="slurm-keeper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def check(self) -> None:
        """Raise UserError once there is no point in going on."""
        if self.problem:
            raise UserError(self.problem)

    def states(self) -> str:
        """What SLURM says of our jobs, in one line."""
        listed = queue.jobs()
        if listed is None:
            return "SLURM does not answer"
        found = Counter(
            f"{name.partition('-')[0]} job {listed.get(job.job_id, 'ended')}"
            for name, job in list(self.cluster.workers.items())
        )
        return ", ".join(f"{count} {text}" for text, count in sorted(found.items())) or "no job in the queue"

    def _keep(self, stop: threading.Event) -> None:
        while not stop.wait(INTERVAL) and not self.problem:
            try:
                self._look()
            except (RuntimeError, OSError) as error:  # SLURM did not take a job now: it may the next time
                self._count_futile(error)

    def _look(self) -> None:
        jobs = {name: job.job_id for name, job in list(self.cluster.workers.items())}  # before the queue is asked
        self._came |= {str(worker["name"]) for worker in list(self.cluster.scheduler_info["workers"].values())}
        listed = queue.jobs()
        if listed is None:
            return
        for name, number in jobs.items():
            if number not in listed:
                self._drop(name)
        if len(self.cluster.workers) < sum(self.wanted.values()):
            self.cluster.sync(self._replace)

    def _drop(self, name: str) -> None:
        kind = name.partition("-")[0]
        self._futile[kind] = 0 if name in self._came else self._futile[kind] + 1
        if self._futile[kind] >= FUTILE * self.wanted[kind]:
            self.problem = (
                f"{self._futile[kind]} {kind} jobs ended before their workers came. See their logs in {self.logs}."
            )
        self.cluster.workers.pop(name, None)

    async def _replace(self) -> None:
        spec = self.cluster.worker_spec
        for name in [name for name in spec if name not in self.cluster.workers]:
            kind = name.partition("-")[0]
            spec[f"{kind}-again-{next(self._numbers)}"] = spec.pop(name)
        await self.cluster._correct_state()  # noqa: SLF001  # what `scale` calls, which knows one kind of worker only

    def _count_futile(self, error: Exception) -> None:
        self._futile["sbatch"] += 1
        if self._futile["sbatch"] >= FUTILE:
            self.problem = f"SLURM takes no more jobs: {' '.join(str(error).split())}"


def _kinds(client: Client) -> set[str]:
    return {name.partition("-")[0] for name in names(client)}


def _options(profile: SlurmProfile, common: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What dask-jobqueue is told of each kind of job that there is to be."""
    kinds = {"build": (profile.builders, BUILD), "infer": (profile.inference, INFER)}
    return {
        kind: common | _job(profile, kind, jobs, resources) for kind, (jobs, resources) in kinds.items() if jobs.count
    }


def _job(profile: SlurmProfile, kind: str, jobs: Jobs, resources: dict[str, int]) -> dict[str, Any]:
    """One kind of job: one process of one thread, however many cores it may use."""
    life = lifetime(jobs.walltime)
    gres = [f"--gres={jobs.gres}"] if jobs.gres else []
    return {
        "queue": jobs.partition,
        "account": jobs.account,
        "walltime": jobs.walltime,
        "cores": 1,
        "processes": 1,
        "job_cpu": jobs.cpus,
        "memory": jobs.memory,
        "job_name": f"screen-{kind}",
        "log_directory": str(profile.logs.absolute()),
        "local_directory": profile.scratch,
        "death_timeout": DEATH_TIMEOUT,
        "interface": profile.interface,
        "protocol": "tls://",
        # Requeued by SLURM, a job would come back beside the one that replaces it.
        "job_extra_directives": ["--no-requeue", *gres, *jobs.directives],
        "job_directives_skip": jobs.skip,
        "job_script_prologue": [f"export {inherited()}", *jobs.prologue],
        "worker_extra_args": [
            *worker_arguments(resources),
            *("--lifetime", f"{life.seconds}s", "--lifetime-stagger", f"{life.stagger}s"),
        ],
    }


def _job_class() -> Any:  # noqa: ANN401  # dask-jobqueue has no types
    try:
        from dask_jobqueue.slurm import SLURMJob  # noqa: PLC0415  # only this needs it
    except ImportError:
        raise UserError("a slurm profile needs dask-jobqueue: pip install 'perovskite-screening[slurm]'.") from None
    return SLURMJob
