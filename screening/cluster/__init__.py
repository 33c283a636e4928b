"""Where the workers of a screen come from: this machine, SLURM jobs, an allocation, or a scheduler that runs."""

from __future__ import annotations

from screening.cluster.choice import Choice, choose, preflight, start
from screening.cluster.scheduler import Workforce

__all__ = ["Choice", "Workforce", "choose", "preflight", "start"]
