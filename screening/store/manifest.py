"""The manifest: one line for each committed block. What has no line is not part of the run.

A line is canonical JSON with a CRC of its own, so any changed byte is noticed. Each committing client appends to a
part of its own; a reader takes all parts together.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.errors import UserError
from screening.store.header import MANIFEST, Header, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screening.store.place import Place

FAILED = 2  # status code of rows that carry a reason


@dataclass(frozen=True)
class BlockReceipt:
    """What a worker reports of a block that it has written; committed, it is a line of the manifest.

    Attributes:
        block: Number of the block.
        start: First row.
        stop: Row after the last.
        checksum: Of the decoded content, see `screening.store.shard.checksum`.
        rows: Stop - start.
        seconds: Time that the block took, s.
        worker: Who wrote it.
        counts: Rows by status code.
        failures: Row ranges [first, last + 1) by reason, for each row whose status is failed.
        device: Kind of device that predicted it, such as "cpu"; empty if none did.
    """

    block: int
    start: int
    stop: int
    checksum: str
    rows: int
    seconds: float
    worker: str
    counts: Mapping[int, int]
    failures: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the manifest as found: a receipt, or the reason why it is none."""

    part: str
    number: int
    data: bytes
    receipt: BlockReceipt | None
    problem: str = ""

    @property
    def torn(self) -> bool:
        """Cut short: only the last line of a part can be, by a crash in mid-commit."""
        return not self.data.endswith(b"\n")


def log_key(part: int) -> str:
    """Where a part of the manifest lies."""
    return f"{MANIFEST}/part-{part:04d}.jsonl"


def part_number(key: str) -> int:
    """Inverse of `log_key`."""
    return int(key.removeprefix(f"{MANIFEST}/part-").removesuffix(".jsonl"))


def part_keys(place: Place) -> list[str]:
    """Keys of all parts, in order."""
    names = [name for name in place.names(MANIFEST) if re.fullmatch(r"part-\d{4}\.jsonl", name)]
    return [f"{MANIFEST}/{name}" for name in sorted(names)]


def to_line(receipt: BlockReceipt) -> bytes:
    """One line, with its newline."""
    record: dict[str, Any] = json.loads(canonical(_record(receipt)))
    return canonical({**record, "crc": _crc(record)}) + b"\n"


def from_line(data: bytes, header: Header) -> BlockReceipt:
    """The receipt that a line holds.

    Raises:
        ValueError: With the reason, if a byte has changed or the block is none of this run.
    """
    record = json.loads(data)
    if not isinstance(record, dict) or record.pop("crc", None) != _crc(record):
        raise ValueError("its checksum does not match")
    if data != canonical({**record, "crc": _crc(record)}) + b"\n":
        raise ValueError("not in the form that this program writes")
    record["counts"] = {int(status): count for status, count in record["counts"].items()}
    record["failures"] = {why: tuple((a, b) for a, b in ranges) for why, ranges in record["failures"].items()}
    receipt = BlockReceipt(**record)
    check(receipt, header)
    return receipt


def check(receipt: BlockReceipt, header: Header) -> None:
    """Raise ValueError unless the receipt is of a block of this run and its counts add up."""
    if not 0 <= receipt.block < header.n_blocks or (receipt.start, receipt.stop) != header.bounds(receipt.block):
        raise ValueError(f"block {receipt.block} with rows {receipt.start} to {receipt.stop} is none of this run")
    if receipt.rows != receipt.stop - receipt.start or sum(receipt.counts.values()) != receipt.rows:
        raise ValueError(f"the counts of block {receipt.block} do not add up to its rows")


def read_lines(place: Place, header: Header) -> Iterator[Line]:
    """Every line of every part, sound or not."""
    for key in part_keys(place):
        yield from read_part(place, key, header)


def read_part(place: Place, key: str, header: Header) -> Iterator[Line]:
    """Every line of one part, sound or not."""
    return (_line(key, number, data, header) for number, data in enumerate(place.lines(key), start=1))


def read(place: Place, header: Header) -> Iterator[BlockReceipt]:
    """The committed blocks. A torn last line is passed over: its commit never finished.

    Raises:
        UserError: At a line that is malformed otherwise.
    """
    for line in read_lines(place, header):
        if line.receipt is not None:
            yield line.receipt
        elif not line.torn:
            raise UserError(
                f"{place.url}: line {line.number} of {line.part} is damaged ({line.problem}). "
                "Mend it with screen verify --repair, then go on with --resume."
            )


def mend_tail(place: Place, part: int) -> bool:
    """Cut off a torn last line. Only for the holder of the part's lock."""
    key = log_key(part)
    last = b"\n"
    for last in place.lines(key):  # noqa: B007  # only the last one counts
        pass
    if last.endswith(b"\n"):
        return False
    place.replace_log(key, (data for data in place.lines(key) if data.endswith(b"\n")))
    return True


class Tally:
    """Which blocks are committed and how many rows have which status: a few bytes a block, whatever a line holds."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._marks = np.zeros(header.n_blocks, np.uint64)  # start of the checksum; 0 where not committed
        self.counts: dict[int, int] = {}
        self.blocks = 0
        self.devices: set[str] = set()

    def has(self, receipt: BlockReceipt) -> bool:
        """Whether the very same block was counted before.

        Raises:
            ValueError: If it was counted with another content.
        """
        known = self._marks[receipt.block]
        if known and known != _mark(receipt):
            raise ValueError(f"block {receipt.block} is committed twice with different content")
        return bool(known)

    def add(self, receipt: BlockReceipt) -> None:
        """Count a block, once however often it is added; raises as `has`."""
        if self.has(receipt):
            return
        self._marks[receipt.block] = _mark(receipt)
        self.blocks += 1
        self.devices |= {receipt.device} - {""}
        for status, count in receipt.counts.items():
            self.counts[status] = self.counts.get(status, 0) + count

    def __contains__(self, block: int) -> bool:
        return bool(self._marks[block])

    def missing(self) -> Iterator[int]:
        """Blocks that are not committed, in order."""
        step = 65_536
        for first in range(0, len(self._marks), step):
            yield from (first + int(i) for i in np.flatnonzero(self._marks[first : first + step] == 0))

    def ledger(self) -> dict[int, int]:
        """Rows by status, 0 being never written; they add up to the size of the space."""
        rest = self._header.rows - sum(self.counts.values())
        return dict(sorted({**({0: rest} if rest else {}), **self.counts}.items()))


def _line(key: str, number: int, data: bytes, header: Header) -> Line:
    try:
        return Line(key, number, data, from_line(data, header))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Line(key, number, data, None, " ".join(str(error).split()))


def _record(receipt: BlockReceipt) -> dict[str, Any]:
    return {**asdict(receipt), "counts": {str(status): count for status, count in receipt.counts.items()}}


def _crc(record: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(canonical(record)):08x}"


def _mark(receipt: BlockReceipt) -> np.uint64:
    return np.uint64(int(receipt.checksum[:16], 16) | 1)
