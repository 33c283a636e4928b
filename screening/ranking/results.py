"""Results of a run: the ledger of how its candidates ended, and the ranking and failures that were written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.files import failures_path, printable, write_csv
from screening.engine.score import load_model, sift
from screening.ranking.crystals import write_cifs
from screening.ranking.outputs import rank_run
from screening.ranking.table import free
from screening.status import Status, labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from screening.plan import Plan
    from screening.ranking.outputs import Outputs
    from screening.ranking.table import Ranking
    from screening.store import StoredRun


@dataclass(frozen=True)
class Ledger:
    """Counts of candidates by status.

    Attributes:
        counts: Label -> candidates, also those with a count of 0.
        size: Candidates of the space.
        sampled: Candidates behind the estimate; None if every candidate was counted.
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
    """Make the ledger of a space of this size, screened with these filters, from its counts by status code."""
    texts = labels(filters, cascade=Status.SET_ASIDE in by_status)
    counts = {text: by_status.get(code, 0) for code, text in texts.items()}
    unwritten = size - sum(counts.values())
    return Ledger(counts | ({"not screened yet": unwritten} if unwritten else {}), size)


def dry_ledger(plan: Plan) -> Ledger:
    """Work out the ledger that a run of this plan will have, short of failures, without predicting anything.

    Up to `Grain.counted` candidates it counts each one; in a larger space it counts evenly spread chunks and scales up.
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
    """Choose where the chunks start: all of them, or as many as hold `exact` candidates, evenly spread."""
    if size <= exact:
        return list(range(0, size, chunk))
    chunks = exact // chunk
    return [size // chunks * i for i in range(chunks)]


@dataclass(frozen=True)
class Failures:
    """Candidates of a run that failed.

    Attributes:
        count: Number of failures.
        first: Name of the first candidate that failed.
        reason: Reason of that failure.
        file: CSV file of all failures; None if none was written.
    """

    count: int
    first: str
    reason: str
    file: Path | None


@dataclass(frozen=True)
class Presented:
    """A ranking that was written, and the failures of its run.

    Attributes:
        table: The requested candidates.
        failures: The failures of the run; None without any.
    """

    table: Ranking
    failures: Failures | None


def present(run: StoredRun, outputs: Outputs) -> Presented:
    """Rank the committed candidates of a run and write the requested files; each appears whole or not at all.

    A CSV of failures goes beside a ranked CSV. Without failures, one that an earlier call left there is removed.

    Raises:
        UserError: The run is damaged or has no candidate to rank, there is no such column, or a file cannot be written.
    """
    table = rank_run(run, outputs, outputs.top if outputs.csv else outputs.shown)
    failures = _failures(run, table.plan, outputs.csv)
    if outputs.csv:
        table.write_csv(outputs.csv)
    if outputs.cif:
        write_cifs(table, outputs.cif, outputs.shown)
    return Presented(table, failures)


def _failures(run: StoredRun, plan: Plan, csv: Path | None) -> Failures | None:
    count = run.ledger().get(int(Status.FAILED), 0)
    path = csv and failures_path(csv)
    if not count:
        if path:
            path.unlink(missing_ok=True)
        return None
    first, _, reason = min(run.failures())
    candidates = plan.candidates
    names = dict(zip(candidates.text_columns, candidates.texts([first]).get(first, []), strict=False))
    if path:
        own = {"index", "reason"}
        write_csv(path, ["index", *(free(name, own) for name in candidates.text_columns), "reason"], _rows(run, plan))
    return Failures(count, names.get("id") or f"candidate {first}", reason, path)


def _rows(run: StoredRun, plan: Plan) -> Iterator[list[str]]:
    for first, stop, reason in sorted(run.failures()):
        texts = plan.candidates.texts(range(first, stop)) if plan.candidates.text_columns else {}
        yield from ([str(index), *texts.get(index, []), reason] for index in range(first, stop))
