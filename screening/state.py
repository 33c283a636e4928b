"""How far a run is, as anybody can see who can read it."""

from collections import defaultdict, deque
from collections.abc import Iterable

import click

from screening.ledger import make_ledger
from screening.plan import from_header
from screening.progress import duration
from screening.store import BlockReceipt, Run, lock, manifest
from screening.store.place import Place

RECENT = 200
"""Lines of each part of the manifest, at its end, from which the speed is estimated."""


def print_state(url: str) -> None:
    """Print blocks done, ledger, who is at work, speed and time to go.

    Raises:
        UserError: there is no run, or it is damaged.
    """
    with Run.open(url) as run:
        done, blocks = run.n_committed, run.header.n_blocks
        click.echo(f"{url}: {done:,} of {blocks:,} blocks are committed ({100 * done / blocks:.1f} %)")
        click.echo(make_ledger(run.ledger(), from_header(run.header, run.records)))
        place = run.place
        held = [part for part in lock.parts(place) if _tell_holders(place, part)]
        if done < blocks:
            click.echo(_outlook(run, held) if held else "nobody is at work on it; --resume goes on with it")


def _tell_holders(place: Place, part: int) -> bool:
    """Print who holds a part of the manifest; False if it is certain that they are gone."""
    holders = list(lock.claims(place, part))
    for holder in holders:
        note = {True: "at work", False: "gone", None: "at work when last seen"}[lock.alive(holder)]
        click.echo(f"part {part}: {holder}, {note}")
    return any(lock.alive(holder) is not False for holder in holders)


def _outlook(run: Run, parts: Iterable[int]) -> str:
    rate = sum(_rate(recent) for recent in (_recent(run, part) for part in parts))
    if not rate:
        return "no block is done yet by who is at work on it"
    left = run.header.rows - sum(run.ledger()[status] for status in run.ledger() if status)
    return f"about {rate:,.0f} candidates/s, {duration(left / rate)} to go"


def _recent(run: Run, part: int) -> Iterable[BlockReceipt]:
    lines = manifest.read_part(run.place, manifest.log_key(part), run.header)
    return deque((line.receipt for line in lines if line.receipt), maxlen=RECENT)


def _rate(receipts: Iterable[BlockReceipt]) -> float:
    """Candidates a second of the workers that wrote these blocks, while they were at them."""
    rows: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for receipt in receipts:
        rows[receipt.worker] += receipt.rows
        seconds[receipt.worker] += receipt.seconds
    return sum(rows[worker] / max(seconds[worker], 1e-3) for worker in rows)
