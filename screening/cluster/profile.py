"""Profiles: what a site needs to be told, one TOML file each. The shipped ones lie in `cluster/`."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cgcnn.errors import UserError
from cgcnn.files import read_text, shipped_files


def counted(name: str, default: int | None = None) -> int:
    """Read a number of components or tasks.

    Args:
        name: Of the variable.
        default: Where it is not set.

    Raises:
        UserError: It is no number above 0, or it is not set and there is no default.
    """
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        said = "not set" if text is None else f"{text!r} is no number above 0"
        raise UserError(f"{name}: {said}. SLURM sets it in jobs: unset SLURM's variables where this is none.")
    return int(text)


MARGIN = 0.1
"""Part of the walltime that is left for a worker to leave in order."""
STAGGER = 0.05
"""Part of the walltime by which lifetimes differ, so that workers that began together do not leave together."""


@dataclass(frozen=True)
class Lifetime:
    """Seconds after which a worker leaves: `seconds`, give or take `stagger`."""

    seconds: int
    stagger: int


def parse_walltime(text: str) -> int:
    """Parse a SLURM time limit into seconds: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        UserError: It is none of these.
    """
    match = re.fullmatch(r"(?:([0-9]{1,9})-)?([0-9]{1,9})(?::([0-9]{1,9}))?(?::([0-9]{1,9}))?", text)
    if match is None:
        raise UserError(f"walltime {text}: not a time limit of SLURM. Write minutes, H:M:S or D-H:M:S.")
    days, *parts = (None if part is None else int(part) for part in match.groups())
    first, second, third = parts[0] or 0, parts[1] or 0, parts[2]
    if days is not None:  # hours lead
        return ((days * 24 + first) * 60 + second) * 60 + (third or 0)
    return first * 60 + second if third is None else (first * 60 + second) * 60 + third


def lifetime(walltime: str) -> Lifetime:
    """Choose how long a worker may live: the last to leave still has time before SLURM ends it."""
    seconds = parse_walltime(walltime)
    return Lifetime(int(seconds * (1 - MARGIN - STAGGER)), int(seconds * STAGGER))


UNITS = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}
"""Of memory, MiB, as SLURM reads them."""
MOST_JOBS = 10_000
"""Of a kind: more would be a slip."""


def _megabytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) *([KMGT])i?B?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError('not an amount of memory; write such as "4GB" or "500MB"')
    return max(1, round(float(match[1]) * UNITS[match[2].upper()]))


def _memory(text: str) -> str:
    _megabytes(text)
    return text


def _walltime(text: str) -> str:
    try:
        parse_walltime(text)
    except UserError as error:
        raise ValueError(str(error)) from None
    return text


def _plain(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be one line of printable text")
    return text


Text = Annotated[str, AfterValidator(_plain)]
Texts = tuple[Text, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LocalProfile(_Strict):
    """Workers on this machine.

    Attributes:
        builders: Processes that build, one a core if not given.
        inference: Processes that predict, one a GPU if not given; with none, builders do both.
    """

    kind: Literal["local"]
    summary: str = ""
    builders: int | None = Field(default=None, ge=1)
    inference: int | None = Field(default=None, ge=0)


class Jobs(_Strict):
    """One kind of SLURM job; each runs one worker process.

    Attributes:
        count: How many are kept in the queue or running.
        partition: None asks for the site's default.
        account: To be billed.
        walltime: As SLURM writes it: minutes, hours:minutes:seconds, days-hours and so on.
        cpus: Of a job.
        memory: Of a job, such as "4GB".
        gres: Such as "gpu:1".
        directives: Further options of sbatch, each as on its command line.
        skip: Directives that the site does not take; lines of the job's header with such a text are left out.
        prologue: Shell commands before the worker starts: modules, environments.
    """

    count: int = Field(ge=0, le=MOST_JOBS)
    partition: Text | None = None
    account: Text | None = None
    walltime: Annotated[str, AfterValidator(_walltime)] = "04:00:00"
    cpus: int = Field(default=1, ge=1)
    memory: Annotated[str, AfterValidator(_memory)] = "4GB"
    gres: Text | None = None
    directives: Texts = ()
    skip: Texts = ()
    prologue: tuple[str, ...] = ()

    @property
    def megabytes(self) -> int:
        """Memory of a job, MiB."""
        return _megabytes(self.memory)


class SlurmProfile(_Strict):
    """Jobs that this process submits and keeps alive, from a login node.

    Attributes:
        builders: Jobs that build.
        inference: Jobs that predict; with a count of 0, builders do both.
        interface: Network interface over which all reach each other, such as "ib0".
        logs: Folder for the logs of the jobs and, while they run, their certificates; on a shared file system.
        scratch: As the shell there expands it, a folder on the nodes for the workers' own files.
        patience: Seconds after which, and every so often again, a wait for workers is explained.
    """

    kind: Literal["slurm"]
    summary: str = ""
    builders: Jobs
    inference: Jobs = Jobs(count=0)
    interface: Text | None = None
    logs: Path = Path("screen-logs")
    scratch: Text = "${TMPDIR:-/tmp}"
    patience: float = Field(default=60.0, gt=0)


class Step(_Strict):
    """Workers of one component of a heterogeneous job.

    Attributes:
        srun: Further options of srun, such as "--gpus-per-task=1".
    """

    srun: Texts = ()


class AllocationProfile(_Strict):
    """Workers in the SLURM job that this process itself runs in, one a task; for batch scripts.

    Attributes:
        builders: Of the only, or the first, component of the job.
        inference: Of the second component, if the job has one.
        interface: As in `SlurmProfile`.
        logs: As in `SlurmProfile`.
        scratch: As in `SlurmProfile`.
        patience: Seconds to wait for the first worker of each kind.
    """

    kind: Literal["allocation"]
    summary: str = ""
    builders: Step = Step()
    inference: Step = Step()
    interface: str | None = None
    logs: Path = Path("screen-logs")
    scratch: Path = Path("/tmp")  # noqa: S108  # the node's own, as Dask's workers make private folders in it
    patience: float = Field(default=120.0, gt=0)


Profile = LocalProfile | SlurmProfile | AllocationProfile
_ANY: TypeAdapter[Profile] = TypeAdapter(Annotated[Profile, Field(discriminator="kind")])


def profiles() -> dict[str, Path]:
    """Shipped profiles: name -> TOML file."""
    return shipped_files(Path(__file__).parents[1] / "profiles", "cluster")


def read_profile(name_or_path: str) -> Profile:
    """Read a shipped profile by name, or any by path.

    Raises:
        UserError: There is no such profile, it is not TOML, or a setting is unknown, missing or out of range.
    """
    known = profiles()
    path = known.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        raise UserError(
            f"`cluster` {name_or_path}: no such profile; pass a TOML file, the JSON file or tls:// address of a "
            f"scheduler, or one of: {', '.join(known)}."
        )
    try:
        return _ANY.validate_python(tomllib.loads(read_text(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "kind"
        what = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where}: {what} (given: {first['input']!r}).") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a TOML file: {error}.") from None


def gpus() -> list[str]:
    """NVIDIA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    there = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None or not there else [name for name in visible.split(",") if name]
