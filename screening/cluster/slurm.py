"""From a login node: one scheduler here, two kinds of SLURM jobs for it, and a pool that replaces lost ones."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.cluster.profile import lifetime
from screening.cluster.scheduler import (
    BUILD,
    DEATH_TIMEOUT,
    FILES_OF_A_WORKER_ELSEWHERE,
    INFER,
    Workforce,
    check_interface,
    describe,
    inherited,
    make_room,
    names,
    remote_cluster,
    tls_arguments,
    uninterrupted,
    wait_for,
    worker_arguments,
)
from screening.cluster.security import certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from distributed import Security

    from screening.cluster.profile import Jobs, SlurmProfile


SECONDS = 60
"""How long a controller may take to answer."""
ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED"}
    | {"TIMEOUT"}
)
"""States that a job does not leave."""
MARK = "screen-says"
"""Begins each line of ours: sites print banners on stdout, also before the answers of commands."""


@dataclass(frozen=True)
class JobState:
    """How a job is.

    Attributes:
        name: As SLURM calls it, such as "PENDING".
        reason: Why it is so, if SLURM says.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.name in ENDED


def test_job(arguments: Sequence[str], script: str, what: str) -> None:
    """Ask SLURM whether it would take a job, submitting nothing.

    Args:
        arguments: Of sbatch.
        script: Of the job.
        what: The jobs in words.

    Raises:
        UserError: With SLURM's own reason, or because there is no SLURM here.
    """
    answer = _call("sbatch", "--test-only", *arguments, script=script)
    if answer is None:
        raise UserError("sbatch: not found. SLURM's commands are on login nodes; run this there.")
    if answer.returncode:
        raise UserError(f"SLURM refuses {what}: {_reason(answer)}. Mend the profile.")


def submit_job(arguments: Sequence[str], script: str, what: str) -> str:
    """Submit a job; its number.

    Raises:
        UserError: With SLURM's own reason.
    """
    answer = _call("sbatch", "--parsable", *arguments, script=script)
    if answer is None:
        raise UserError(f"SLURM does not take {what}: sbatch is not there any more.")
    found = re.findall(r"^(\d+)(?:;\S*)?$", answer.stdout, re.MULTILINE)
    if answer.returncode or not found:
        raise UserError(f"SLURM does not take {what}: {_reason(answer)}.")
    return str(found[-1])


def job_states(numbers: Collection[str]) -> dict[str, JobState] | None:
    """Ask SLURM how jobs are, as far as it still knows them, by number; None if it does not answer.

    They are asked for by their numbers: who submitted them, and under which name, is then of no importance.
    """
    if not numbers:
        return {}
    wanted = ("--noheader", "--states=all", f"--jobs={','.join(numbers)}", f"--format={MARK}|%A|%T|%r")
    answer = _call("squeue", *wanted)
    if answer is None or (answer.returncode and "Invalid job id" not in answer.stderr):
        return None
    lines = re.findall(rf"^{MARK}\|(\d+)\|([A-Z_]+)\|(.*)$", answer.stdout, re.MULTILINE)
    return {number: JobState(name, "" if reason == "None" else reason) for number, name, reason in lines}


def cancel_jobs(numbers: Collection[str]) -> None:
    """Cancel jobs; those that have ended are no error."""
    if numbers:
        _call("scancel", *numbers)


def _reason(answer: subprocess.CompletedProcess[str]) -> str:
    """Extract what SLURM says, without the name of the command before it."""
    lines = [line.rpartition("error: ")[2].strip() for line in answer.stderr.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines)) or f"exit status {answer.returncode}"


def _call(*command: str, script: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """Run a command in a session of its own, where no Ctrl-C reaches it; None if there is no such command."""
    try:
        return subprocess.run(  # noqa: S603  # no shell
            command,
            input=script,
            stdin=subprocess.DEVNULL if script is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=SECONDS,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "SLURM does not answer")
    except OSError:
        return None


@dataclass(frozen=True)
class JobTemplate:
    """One kind of job: one process of one thread, however many cores it may use.

    Attributes:
        arguments: Of sbatch.
        prologue: Shell commands before the worker starts.
        scratch: Folder on the node, as the shell there expands it.
        worker: Address of the scheduler, and options of the worker.
    """

    arguments: tuple[str, ...]
    prologue: tuple[str, ...]
    scratch: str
    worker: tuple[str, ...]

    def script(self, name: str) -> str:
        """Write the batch script of the job whose worker has this name."""
        variable, _, value = inherited().partition("=")
        command = f"exec {shlex.quote(sys.executable)} -P -m screening.cluster.worker"
        return "\n".join(
            [
                "#!/usr/bin/env bash",
                f"export {variable}={shlex.quote(value)}",
                *self.prologue,
                f'{command} "{self.scratch}" {shlex.join([name, *self.worker])}',
                "",
            ]
        )


def templates(profile: SlurmProfile, address: str, security: Security | None = None) -> dict[str, JobTemplate]:
    """Kind -> how its jobs are submitted.

    Args:
        profile: What to ask SLURM for.
        address: Of the scheduler.
        security: Certificates of the run; None only to ask whether such jobs would be taken.
    """
    kinds: Mapping[str, tuple[Jobs, dict[str, int]]]
    kinds = {"build": (profile.builders, BUILD), "infer": (profile.inference, INFER)}
    return {
        kind: JobTemplate(
            _arguments(profile, kind, jobs),
            jobs.prologue,
            profile.scratch,
            (address, *_worker(profile, jobs, resources), *(tls_arguments(security) if security else ())),
        )
        for kind, (jobs, resources) in kinds.items()
    }


def _arguments(profile: SlurmProfile, kind: str, jobs: Jobs) -> tuple[str, ...]:
    logs = str(profile.logs.absolute()).replace("%", "%%") + f"/screen-{kind}-%j"
    named = {"partition": jobs.partition, "account": jobs.account, "gres": jobs.gres}
    asked = (
        f"--job-name=screen-{kind}",
        *(f"--{option}={value}" for option, value in named.items() if value is not None),
        f"--time={jobs.walltime}",
        "--ntasks=1",
        f"--cpus-per-task={jobs.cpus}",
        f"--mem={jobs.megabytes}M",
        f"--output={logs}.out",
        f"--error={logs}.err",
        "--no-requeue",  # a job that SLURM requeues would come back beside the one that replaces it
        *jobs.directives,
    )
    return tuple(option for option in asked if not any(text in option for text in jobs.skip))


def _worker(profile: SlurmProfile, jobs: Jobs, resources: dict[str, int]) -> tuple[str, ...]:
    life = lifetime(jobs.walltime)
    return (
        *("--nthreads", "1", "--memory-limit", "0"),  # SLURM watches the memory
        *("--death-timeout", str(DEATH_TIMEOUT)),
        *("--lifetime", f"{life.seconds}s", "--lifetime-stagger", f"{life.stagger}s"),
        *(("--interface", profile.interface) if profile.interface else ()),
        *worker_arguments(resources),
    )


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
        pool = JobPool(kinds, wanted, present, name, str(profile.logs))
        with pool.at_work():
            wait_for(
                lambda: {text.partition("-")[0] for text in names(client)} >= set(wanted),
                profile.patience,
                pool.states,
                pool.check,
            )
            yield Workforce(
                client, builders, profile.inference.count, check=pool.check, waiting=lambda: describe(client)
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
            test_job(template.arguments, template.script("check"), f"the {kind} jobs of {name}")


@dataclass
class JobPool:
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

    templates: Mapping[str, JobTemplate]
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
        thread = threading.Thread(target=self._keep, name="slurm-jobs", daemon=True)
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
                cancel_jobs(list(self._jobs.values()))

    def check(self) -> None:
        """Raise UserError once there is no point in going on."""
        if self.problem:
            raise UserError(self.problem)

    def states(self) -> str:
        """Summarise what SLURM says of our jobs in one line."""
        jobs = dict(self._jobs)
        listed = job_states(list(jobs.values()))
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
            except Exception as error:  # noqa: BLE001  # a pool that fails unseen would leave the run waiting forever
                self.problem = f"{self.name}: the jobs cannot be kept ({type(error).__name__}: {error})."

    def _look(self) -> None:
        jobs = dict(self._jobs)
        connected = self.present()
        self._came |= connected
        listed = job_states(list(jobs.values()))
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

    def _give_up(self, name: str, state: JobState | None) -> None:
        kind = _kind(name)
        cancel_jobs([self._jobs.pop(name)])
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
                self._jobs[name] = submit_job(template.arguments, template.script(name), what)
                self._futile["sbatch"] = 0


def _kind(name: str) -> str:
    """Tell the kind of a worker by its name."""
    return name.partition("-")[0]
