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
from screening.status import Status
from screening.store.header import MANIFEST, UNREADABLE, Header, canonical, of_another_run
from screening.store.shard import CHECKSUM_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from screening.store.place import Place


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
        run: Digest of the run's header.
        versions: Of packages that decide the bits, where they are not those that the run was begun with.
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
    run: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


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
    """Return the key of a part of the manifest."""
    return f"{MANIFEST}/part-{part:04d}.jsonl"


def part_number(key: str) -> int:
    """Inverse of `log_key`."""
    return int(key.removeprefix(f"{MANIFEST}/part-").removesuffix(".jsonl"))


def part_keys(place: Place) -> list[str]:
    """Return keys of all parts, in order."""
    names = [name for name in place.names(MANIFEST) if re.fullmatch(r"part-\d{4}\.jsonl", name)]
    return [f"{MANIFEST}/{name}" for name in sorted(names)]


def to_line(receipt: BlockReceipt) -> bytes:
    """Write one line, with its newline."""
    record: dict[str, Any] = json.loads(canonical(_record(receipt)))
    return canonical({**record, "crc": _crc(record)}) + b"\n"


def from_line(data: bytes, header: Header) -> BlockReceipt:
    """Parse the receipt that a line holds.

    Raises:
        ValueError: With the reason, if a byte has changed or the block is none of this run.
    """
    record = _intact(data)
    if data != canonical({**record, "crc": _crc(record)}) + b"\n":
        raise ValueError("not in the form that this program writes")
    if not isinstance(record["counts"], dict) or not isinstance(record["failures"], dict):
        raise ValueError("its counts or failures are not mappings")  # noqa: TRY004  # as for all that is wrong in a line
    record["counts"] = {int(status): count for status, count in record["counts"].items()}
    record["failures"] = {why: tuple((a, b) for a, b in ranges) for why, ranges in record["failures"].items()}
    receipt = BlockReceipt(**record)
    check(receipt, header)
    return receipt


def runs_named(place: Place) -> Iterator[str]:
    """Return the digest of the run that each intact line names, over all parts."""
    for key in part_keys(place):
        for data in place.lines(key):
            try:
                yield str(_intact(data)["run"])
            except UNREADABLE:
                continue


def check(receipt: BlockReceipt, header: Header) -> None:
    """Raise ValueError unless the receipt is of a block of this run, and its counts and failures are of its rows."""
    _check_types(receipt)
    if receipt.run != header.digest:
        raise ValueError(f"block {receipt.block} belongs to another run")
    if not 0 <= receipt.block < header.n_blocks or (receipt.start, receipt.stop) != header.bounds(receipt.block):
        raise ValueError(f"block {receipt.block} with rows {receipt.start} to {receipt.stop} is none of this run")
    if receipt.rows != receipt.stop - receipt.start or sum(receipt.counts.values()) != receipt.rows:
        raise ValueError(f"the counts of block {receipt.block} do not add up to its rows")
    _check_failures(receipt)
    if not re.fullmatch(f"[0-9a-f]{{{CHECKSUM_DIGITS * len(header.columns)}}}", receipt.checksum):
        raise ValueError(f"block {receipt.block} has not one checksum for each column")


def _check_types(receipt: BlockReceipt) -> None:
    """Raise ValueError unless numbers are whole, counts not below 0, and texts text."""
    numbers = (receipt.block, receipt.start, receipt.stop, receipt.rows, *receipt.counts.values())
    if not all(type(number) is int for number in numbers):
        raise ValueError("its numbers are not whole")
    if min(receipt.counts.values(), default=0) < 0:
        raise ValueError(f"block {receipt.block} has a count below 0")
    texts = (receipt.checksum, receipt.worker, receipt.device, receipt.run, *receipt.failures)
    if not all(isinstance(text, str) for text in (*texts, *receipt.versions, *receipt.versions.values())):
        raise ValueError("its worker, device, reasons or versions are not text")


def _check_failures(receipt: BlockReceipt) -> None:
    """Raise ValueError unless the failures are ranges of the block's rows, no row twice, as many as its counts say."""
    pairs = [pair for ranges in receipt.failures.values() for pair in ranges]
    if not all(type(first) is int and type(end) is int for first, end in pairs):
        raise ValueError(f"failures of block {receipt.block} are not rows")
    end = receipt.start
    for first, last in sorted(pairs):
        if not end <= first < last <= receipt.stop:
            raise ValueError(f"block {receipt.block} has failures of rows {first} to {last}, which are not its own")
        end = last
    failed = sum(last - first for first, last in pairs)
    if failed != receipt.counts.get(Status.FAILED, 0):
        raise ValueError(f"block {receipt.block} has reasons for {failed} failures, but counts others")


def read_lines(place: Place, header: Header) -> Iterator[Line]:
    """Read every line of every part, sound or not."""
    for key in part_keys(place):
        yield from read_part(place, key, header)


def read_part(place: Place, key: str, header: Header) -> Iterator[Line]:
    """Read every line of one part, sound or not."""
    return (_line(key, number, data, header) for number, data in enumerate(place.lines(key), start=1))


def read(place: Place, header: Header) -> Iterator[BlockReceipt]:
    """Read the committed blocks. A torn last line is passed over: its commit never finished.

    Raises:
        UserError: At a line that is malformed otherwise.
    """
    for line in read_lines(place, header):
        if line.receipt is not None:
            yield line.receipt
        elif not line.torn:
            if (named := set(runs_named(place))) and header.digest not in named:
                raise of_another_run(place)
            raise UserError(
                f"{place.url}: line {line.number} of {line.part} is damaged ({line.problem}). "
                "Mend it with screen verify --repair, then go on with `resume`."
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
    """Which blocks are committed with what content, and how many rows have which status.

    Eight bytes for each column of a block, and one more, whatever else its line holds.

    Attributes:
        counts: Rows by status code.
        blocks: Number of blocks.
        devices: Kinds of devices that predicted them.
        versions: Package and version, where blocks were done with another one than the run was begun with.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        try:
            self._committed = np.zeros(header.n_blocks, np.bool_)
            self._checksums = np.zeros((header.n_blocks, len(header.columns)), ">u8")
        except MemoryError as error:
            raise UserError(
                f"{header.n_blocks} blocks: no memory to keep track of them; larger blocks are fewer."
            ) from error
        self._columns = {column.name: number for number, column in enumerate(header.columns)}
        self.counts: dict[int, int] = {}
        self.blocks = 0
        self.devices: set[str] = set()
        self.versions: set[tuple[str, str]] = set()

    def has(self, receipt: BlockReceipt) -> bool:
        """Check whether the very same block was counted before.

        Raises:
            ValueError: If it was counted with another content.
        """
        if not self._committed[receipt.block]:
            return False
        if self._checksums[receipt.block].tobytes() != bytes.fromhex(receipt.checksum):
            raise ValueError(f"block {receipt.block} is committed twice with different content")
        return True

    def add(self, receipt: BlockReceipt) -> None:
        """Count a block, once however often it is added; raises as `has`."""
        if self.has(receipt):
            return
        self._committed[receipt.block] = True
        self._checksums[receipt.block] = np.frombuffer(bytes.fromhex(receipt.checksum), ">u8")
        self.blocks += 1
        self.devices |= {receipt.device} - {""}
        self.versions |= set(receipt.versions.items())
        for status, count in receipt.counts.items():
            self.counts[status] = self.counts.get(status, 0) + count

    def __contains__(self, block: int) -> bool:
        return bool(self._committed[block])

    def checksum(self, name: str, block: int) -> str:
        """Checksum of one column of a committed block; "" of a column that there is not."""
        number = self._columns.get(name)
        return "" if number is None else f"{int(self._checksums[block, number]):0{CHECKSUM_DIGITS}x}"

    def missing(self) -> Iterator[int]:
        """List blocks that are not committed, in order."""
        step = 65_536
        for first in range(0, len(self._committed), step):
            yield from (first + int(i) for i in np.flatnonzero(~self._committed[first : first + step]))

    def ledger(self) -> dict[int, int]:
        """Count rows by status, 0 being never written; they add up to the size of the space."""
        rest = self._header.rows - sum(self.counts.values())
        return dict(sorted({**({0: rest} if rest else {}), **self.counts}.items()))


def _line(key: str, number: int, data: bytes, header: Header) -> Line:
    try:
        return Line(key, number, data, from_line(data, header))
    except UNREADABLE as error:
        return Line(key, number, data, None, " ".join(str(error).split()) or type(error).__name__)


def _intact(data: bytes) -> dict[str, Any]:
    """Parse what a line says, short of its CRC, which fits."""
    record = json.loads(data)
    if not isinstance(record, dict) or record.pop("crc", None) != _crc(record):
        raise ValueError("its checksum does not match")
    return record


def _record(receipt: BlockReceipt) -> dict[str, Any]:
    record = {**asdict(receipt), "counts": {str(status): count for status, count in receipt.counts.items()}}
    if not receipt.versions:
        del record["versions"]
    return record


def _crc(record: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(canonical(record)):08x}"
