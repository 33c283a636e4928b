"""What became of candidates that failed: told on stderr, and with `--csv` a file of the reasons beside the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cgcnn.files import write_csv
from screening.candidates.structures import Structures
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from screening.plan import Plan
    from screening.store import Run


def tell_failures(run: Run, plan: Plan, csv: Path | None) -> None:
    """Say how many candidates failed and why the first did; write all reasons beside the ranked CSV.

    Without failures, a file of them that an earlier ranking left is removed.

    Raises:
        UserError: The file cannot be written.
    """
    count = run.ledger().get(int(Status.FAILED), 0)
    path = csv and csv.with_name(f"{csv.stem}.failures.csv")
    if count:
        first, _, reason = min(run.failures())
        where = f"; {path} has all reasons" if path else ""
        click.echo(f"{count:,} failed, the first is {_name(plan, first)}: {reason}{where}", err=True)
        if path:
            write_csv(
                path, ["index", *(["id"] if isinstance(plan.space, Structures) else []), "reason"], _rows(run, plan)
            )
    elif path:
        path.unlink(missing_ok=True)


def _name(plan: Plan, index: int) -> str:
    return plan.space.texts([index])[index][0] if isinstance(plan.space, Structures) else f"candidate {index}"


def _rows(run: Run, plan: Plan) -> Iterator[list[str]]:
    for first, stop, reason in sorted(run.failures()):
        names = plan.space.texts(range(first, stop)) if isinstance(plan.space, Structures) else {}
        yield from ([str(index), *names.get(index, []), reason] for index in range(first, stop))
