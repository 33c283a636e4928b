"""What sbatch is told of each kind of job: options as it takes them, and a script in which every word is quoted."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from screening.cluster.remote import DEATH_TIMEOUT, inherited, tls_arguments, worker_arguments
from screening.cluster.walltime import lifetime
from screening.cluster.workforce import BUILD, INFER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Security

    from screening.cluster.profile import Jobs, SlurmProfile


@dataclass(frozen=True)
class Template:
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
        """The batch script of the job whose worker has this name."""
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


def templates(profile: SlurmProfile, address: str, security: Security | None = None) -> dict[str, Template]:
    """Kind -> how its jobs are submitted.

    Args:
        profile: What to ask SLURM for.
        address: Of the scheduler.
        security: Certificates of the run; None only to ask whether such jobs would be taken.
    """
    kinds: Mapping[str, tuple[Jobs, dict[str, int]]]
    kinds = {"build": (profile.builders, BUILD), "infer": (profile.inference, INFER)}
    return {
        kind: Template(
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
