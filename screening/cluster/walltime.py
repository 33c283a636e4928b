"""Time limits as SLURM writes them, and how long a worker may live within one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cgcnn.errors import UserError

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
    """Seconds of a SLURM time limit: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

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
    """How long a worker may live: the last to leave still has time before SLURM ends it."""
    seconds = parse_walltime(walltime)
    return Lifetime(int(seconds * (1 - MARGIN - STAGGER)), int(seconds * STAGGER))
