"""How far a run is, as anybody can see who can read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgcnn.cli.options import echo
from screening.cli.progress import duration
from screening.ranking.results import make_ledger
from screening.store import Run, lock

if TYPE_CHECKING:
    from screening.store.place import Place


def print_state(url: str) -> None:
    """Print blocks done, ledger, who is at work, speed and time to go.

    Raises:
        UserError: There is no run, or it is damaged.
    """
    with Run.open(url) as run:
        done, blocks = run.n_committed, run.header.n_blocks
        echo(f"{url}: {done:,} of {blocks:,} blocks are committed ({100 * done / blocks:.1f} %)")
        echo(make_ledger(run.ledger(), run.header.filters, run.header.rows), lines=True)
        place = run.place
        told = [_tell_holders(place, part) for part in lock.parts(place)]
        if done < blocks:
            at_work, rate = any(there for there, _ in told), sum(rate for _, rate in told)
            echo(_outlook(run, rate) if at_work else "nobody is at work on it; --resume goes on with it")


def _tell_holders(place: Place, part: int) -> tuple[bool, float]:
    """Print who holds a part of the manifest; False if it is certain that they are gone. And candidates/s of theirs."""
    holders = list(lock.claims(place, part))
    for holder in holders:
        note = {True: "at work", False: "gone", None: "at work when last seen"}[lock.alive(holder)]
        echo(f"part {part}: {holder}, {note}")
    there = [holder for holder in holders if lock.alive(holder) is not False]
    return bool(there), sum(lock.rate(place, part, holder) for holder in there)


def _outlook(run: Run, rate: float) -> str:
    if not rate:
        return "no block is done yet by who is at work on it"
    left = run.ledger().get(0, 0)
    return f"about {rate:,.0f} candidates/s, {duration(left / rate)} to go"
