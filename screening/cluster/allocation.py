"""Inside a SLURM job: scheduler and client in this process, one worker for each task of the job's components."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from screening.cluster.profile import counted
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
    wait_for,
    worker_arguments,
)
from screening.cluster.security import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Security

    from screening.cluster.profile import AllocationProfile, Step

GRACE = 10.0
"""Seconds that workers get to end when the run does."""


@dataclass(frozen=True)
class Component:
    """One component of the job that we run in; an ordinary job is one component.

    Attributes:
        kind: Of its workers: build or infer.
        group: Its number in a heterogeneous job, else None.
        tasks: Workers to start in it.
    """

    kind: str
    group: int | None
    tasks: int

    def setting(self, name: str) -> str | None:
        """Return a variable that SLURM set for this component."""
        return os.environ.get(name if self.group is None else f"{name}_HET_GROUP_{self.group}")

    def command(self, step: Step, log: Path) -> list[str]:
        """Return the beginning of the command that starts the workers: cores and memory are those of this component."""
        cpus, memory = self.setting("SLURM_CPUS_PER_TASK"), self.setting("SLURM_MEM_PER_CPU")
        return [
            "srun",
            *([] if self.group is None else [f"--het-group={self.group}"]),
            f"--ntasks={self.tasks}",
            *([f"--cpus-per-task={cpus}"] if cpus else []),
            *([f"--mem-per-cpu={memory}"] if memory else []),
            *(
                "--kill-on-bad-exit=0",
                "--wait=0",
                f"--output={str(log).replace('%', '%%')}-%t.log",
                "--open-mode=append",
            ),
            *step.srun,
        ]


def components() -> list[Component]:
    """Return the components of the job that this process runs in.

    Raises:
        UserError: It runs in none, or in one with more components than we have kinds of workers.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError("not inside a SLURM job. Submit cluster/heterogeneous.sbatch, or pass slurm as `cluster`.")
    size = counted("SLURM_HET_SIZE", 1)
    if size > 2:
        raise UserError(f"this job has {size} components. Ask for one for builders and one for inference.")
    if size == 1:
        return [Component("build", None, counted("SLURM_NTASKS", 1))]
    tasks = [counted(f"SLURM_NTASKS_HET_GROUP_{group}") for group in range(size)]
    return [Component("build", 0, tasks[0]), Component("infer", 1, tasks[1])]


@contextmanager
def allocation_workers(profile: AllocationProfile, name: str) -> Iterator[Workforce]:
    """Start workers in the job that this process runs in; one that fails, fails the run.

    Args:
        profile: What srun and the workers are told.
        name: Of the profile, for messages.

    Raises:
        UserError: This is no SLURM job, or the workers of a component ended.
    """
    parts = components()
    check_interface(profile.interface, name)
    make_room(sum(part.tasks for part in parts), FILES_OF_A_WORKER_ELSEWHERE)
    job = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    logs = profile.logs.absolute() / f"screen-{job}"
    with (
        certificates(logs) as security,
        remote_cluster(security, profile.interface) as (cluster, client),
        ExitStack() as steps,
    ):
        running = {
            part.kind: steps.enter_context(_step(profile, part, cluster.scheduler_address, security, logs))
            for part in parts
        }

        def check() -> None:
            for kind, process in running.items():
                if process.poll() is not None:
                    raise UserError(f"{name}: the {kind} workers ended with status {process.returncode}. See {logs}.")

        wait_for(
            lambda: len({text.partition("-")[0] for text in names(client)}) == len(parts),
            profile.patience,
            lambda: f"{', '.join(part.kind for part in parts)}; their logs are in {logs}",
            check,
        )
        counts = {part.kind: part.tasks for part in parts}
        yield Workforce(client, counts["build"], counts.get("infer", 0), check=check, waiting=lambda: describe(client))
        client.retire_workers(list(client.scheduler_info()["workers"]), close_workers=True)


@contextmanager
def _step(
    profile: AllocationProfile, part: Component, address: str, security: Security, logs: Path
) -> Iterator[subprocess.Popen[bytes]]:
    step, resources = (profile.inference, INFER) if part.kind == "infer" else (profile.builders, BUILD)
    worker = [
        *(sys.executable, "-P", "-m", "screening.cluster.worker", str(profile.scratch), f"{part.kind}-%t", address),
        *("--nthreads", "1", "--memory-limit", "0"),  # SLURM watches the memory
        *("--death-timeout", str(DEATH_TIMEOUT), *tls_arguments(security)),
        *(["--interface", profile.interface] if profile.interface else []),
        *worker_arguments(resources),
    ]
    variable, _, value = inherited().partition("=")
    process = subprocess.Popen(  # noqa: S603  # no shell here
        [*part.command(step, logs / part.kind), *worker],
        env={**os.environ, variable: value},
        start_new_session=True,  # a signal to the client's process group is the client's to answer
    )
    try:
        yield process
        _wait(process)  # told to retire, its workers are about to end
    finally:
        process.terminate()
        _wait(process)
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
