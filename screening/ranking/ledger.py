"""The ledger: how every candidate of a space ends, in counts that add up to the size of the space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.files import printable
from screening.engine.score import load_model, sift
from screening.status import Status, labels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from screening.plan import Plan


@dataclass(frozen=True)
class Ledger:
    """Counts of candidates by status.

    Attributes:
        counts: Label -> candidates; zero counts are kept.
        size: Candidates of the space.
        sampled: None where every candidate was counted, else how many were looked at for the estimate.
    """

    counts: dict[str, int]
    size: int
    sampled: int | None = None

    def __str__(self) -> str:
        about = "" if self.sampled is None else f" (estimated from {self.sampled:,})"
        width = max(map(len, self.counts))
        lines = [f"  {label:<{width}}  {count:>15,}" for label, count in self.counts.items()]
        return "\n".join([f"{self.size:,} candidates{about}", *map(printable, lines)])


def make_ledger(by_status: dict[int, int], filters: Iterable[object], size: int) -> Ledger:
    """The ledger of a space of this size, screened with these filters, from its counts by status code."""
    texts = labels(filters, cascade=Status.SET_ASIDE in by_status)
    counts = {text: by_status.get(code, 0) for code, text in texts.items()}
    unwritten = size - sum(counts.values())
    return Ledger(counts | ({"not screened yet": unwritten} if unwritten else {}), size)


def dry_ledger(plan: Plan) -> Ledger:
    """The ledger that a run of this plan will have, short of failures; nothing is predicted.

    Up to `Grain.counted` candidates each one is counted; of more, evenly spread chunks are, and scaled up.
    """
    model = load_model(plan)
    size, grain = plan.candidates.count, plan.candidates.grain
    counts = np.zeros(256, dtype=np.int64)
    for start in _starts(size, grain.counted, grain.sifted):
        status = sift(plan, model, start, min(start + grain.sifted, size))["status"]
        counts += np.bincount(status, minlength=len(counts))
    looked_at = int(counts.sum())
    scaled = {code: round(int(counts[code]) * size / looked_at) for code in np.flatnonzero(counts).tolist()}
    ledger = make_ledger(scaled, plan.filters, size)
    return ledger if looked_at == size else replace(ledger, sampled=looked_at)


def _starts(size: int, exact: int, chunk: int) -> list[int]:
    """Where the chunks start: all of them, or as many as make `exact` candidates, evenly spread."""
    if size <= exact:
        return list(range(0, size, chunk))
    chunks = exact // chunk
    return [size // chunks * i for i in range(chunks)]
