"""Prove a run sound, or list what is not: header, metadata, manifest, and each committed block's content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from cgcnn.errors import OddFileError, UserError
from cgcnn.files import printable
from screening.status import Status
from screening.store import header as headers
from screening.store import lock, manifest
from screening.store.blocks import load_shard
from screening.store.header import COPY, MANIFEST, ROOT, Header
from screening.store.manifest import BlockReceipt, Tally
from screening.store.place import PARTIAL, Place, open_place
from screening.store.records import FOLDER, INDEX, Records
from screening.store.shard import CHECKSUM_DIGITS, Array, shard_name

ANOTHER = "that of another run than the blocks"
OWN = (*(f"{MANIFEST}/{kind}-" for kind in ("part", "lock", "beat")), f"{FOLDER}/")  # not proven file by file here

Decode = Callable[[int, int], Mapping[str, Array]]


@dataclass(frozen=True)
class Finding:
    """Something that verification found.

    Attributes:
        kind: Header, metadata, records, manifest, damaged, missing or foreign; device, versions, uncommitted, leftover
            or unknown.
        where: Block, file or line.
        what: What is the matter with it.
        wrong: Whether it makes the run unsound or incomplete, or is only worth knowing.
    """

    kind: str
    where: str
    what: str
    wrong: bool = True

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        url: Of the run.
        rows: Size of the space.
        blocks: Number of blocks in the space.
        sound: Number of blocks whose content is proven.
        ledger: Rows by status over the sound blocks; 0 is never written or not sound.
        findings: All that is wrong or worth knowing.
        mended: What `repair` did.
    """

    url: str
    rows: int
    blocks: int
    sound: int
    ledger: Mapping[int, int]
    findings: tuple[Finding, ...]
    mended: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every candidate is there exactly once, undamaged; after a repair, whether nothing is left to do."""
        return not self._wrong()

    def text(self) -> str:
        """Write the report for people: one line for each finding, and the remedy last."""
        lines = [f"{self.url}: {self.sound} of {self.blocks} blocks are sound ({self.rows} candidates in all)"]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  mended: {what}" for what in self.mended]
        return "\n".join(map(printable, [*lines, self._remedy()]))

    def _wrong(self) -> set[str]:
        wrong = {finding.kind for finding in self.findings if finding.wrong}
        return wrong & {"missing", "damaged", "records"} if self.mended else wrong

    def _remedy(self) -> str:
        wrong = self._wrong()
        if not wrong:
            return "Every candidate is there exactly once, and nothing is damaged."
        if any(
            finding.kind == "header" and finding.where == ROOT and finding.what == ANOTHER for finding in self.findings
        ):
            return f"Restore {ROOT} from a backup."
        if wrong == {"records"}:
            return "Resume the run with the same input: that puts the records back."
        if self.mended or wrong == {"missing"}:
            return "Resume the run: that does what is missing."
        return "Mend it with screen verify --repair, then resume the run."


def verify(url: str, decode: Decode | None = None) -> Report:
    """Recompute everything that can be recomputed of a run. Reads each block once; changes nothing.

    Args:
        url: Of the run.
        decode: What the space itself says of rows [start, stop), such as their species, to prove that each row is
            its candidate.

    Raises:
        UserError: Where there is no run, both copies of its header are damaged, or it cannot be told which is its own.
    """
    return _Audit(open_place(url), decode).report()


def repair(url: str, decode: Decode | None = None) -> Report:
    """Verify, and mend what can be.

    Header and metadata are written anew; lines of unsound blocks are dropped, so that resuming does exactly these
    again; shards outside the run and what stopped writers left are deleted.

    Raises:
        UserError: As `verify`; or if the run is in use, or the header is that of another one.
    """
    place = open_place(url)
    header, _ = _header_of(place)  # before any lock is written into something that is no run
    if _is_another(place, header):
        raise headers.of_another_run(place)
    with ExitStack() as locks:
        for part in {0, *map(manifest.part_number, manifest.part_keys(place))}:
            locks.callback(lock.acquire(place, part).release)
        audit = _Audit(place, decode)
        report = audit.report()
        return Report(**{**vars(report), "mended": tuple(audit.mend())})


class _Audit:
    """One pass over a run."""

    def __init__(self, place: Place, decode: Decode | None) -> None:
        self.place, self.decode = place, decode
        self.header, self.root = _header_of(place)
        self.documents = headers.array_documents(self.root)
        self.tally = Tally(self.header)
        self.unsound: set[int] = set()
        self.findings: list[Finding] = []
        if _is_another(place, self.header):
            self.findings.append(Finding("header", ROOT, ANOTHER))
            return
        self.findings += [*self._metadata(), *self._records()]
        if any(finding.kind == "records" for finding in self.findings):
            self.decode = None  # it would read them
        self.findings += [*self._manifest(), *self._devices(), *self._missing(), *self._files()]

    def report(self) -> Report:
        sizes = self.header.rows, self.header.n_blocks, self.tally.blocks
        return Report(self.place.url, *sizes, self.tally.ledger(), tuple(self.findings))

    def mend(self) -> Iterator[str]:
        files = self._expected_files()
        broken = {key: data for key, data in files.items() if self._found(key) != data}
        if broken:
            self.place.write(broken)
            yield f"wrote {', '.join(broken)} anew"
        for key in manifest.part_keys(self.place):
            lines = [line for line in manifest.read_part(self.place, key, self.header) if not self._trusted(line)]
            if lines:
                kept = (line for line in manifest.read_part(self.place, key, self.header) if self._trusted(line))
                self.place.replace_log(key, (line.data for line in kept))
                yield f"dropped {len(lines)} lines of {key}"
        for finding in self.findings:
            if finding.kind in {"foreign", "leftover"}:
                self.place.delete(finding.where)
                yield f"deleted {finding.where}"

    def _trusted(self, line: manifest.Line) -> bool:
        try:
            return line.receipt is not None and self.tally.has(line.receipt)
        except ValueError:
            return False

    def _expected_files(self) -> dict[str, bytes]:
        return {ROOT: self.root, COPY: self.root, **headers.metadata_files(self.root)}

    def _metadata(self) -> Iterator[Finding]:
        for key, expected in self._expected_files().items():
            found = self._found(key)
            if found != expected:
                kind = "header" if key in {ROOT, COPY} else "metadata"
                other = kind == "header" and found is not None and headers.is_sound(found)
                what = "missing" if found is None else "that of another run" if other else "not as it was written"
                yield Finding(kind, key, what)

    def _found(self, key: str) -> bytes | None:
        """Read what lies there; nothing if it is not a regular file, or too large for one."""
        try:
            return self.place.read(key, headers.LARGEST)
        except OddFileError:
            return b""

    def _records(self) -> Iterator[Finding]:
        if self.header.records:
            try:
                records = Records.at(self.place, self.header.records)
            except UserError:
                yield Finding("records", INDEX, "missing or damaged")
            else:
                yield from (Finding("records", key, trouble) for key, trouble in records.problems())

    def _manifest(self) -> Iterator[Finding]:
        for line in manifest.read_lines(self.place, self.header):
            if line.receipt is None:
                what = "torn: its commit never finished" if line.torn else line.problem
                yield Finding("manifest", f"line {line.number} of {line.part}", what, wrong=not line.torn)
            elif not self._trusted(line):
                yield from self._block(line.receipt)

    def _block(self, receipt: BlockReceipt) -> Iterator[Finding]:
        try:
            self._prove(receipt)
            self.tally.add(receipt)
            self.unsound.discard(receipt.block)
        except ValueError as error:
            self.unsound.add(receipt.block)
            yield Finding("damaged", f"block {receipt.block} (rows {receipt.start} to {receipt.stop})", str(error))

    def _prove(self, receipt: BlockReceipt) -> None:
        columns = {}
        for number, column in enumerate(self.header.columns):
            expected = receipt.checksum[CHECKSUM_DIGITS * number :][:CHECKSUM_DIGITS]
            loaded = load_shard(
                self.place, self.header, self.documents, column.name, block=receipt.block, expected=expected
            )
            columns[column.name] = loaded
        codes, counts = np.unique(columns["status"], return_counts=True)
        if dict(zip(codes.tolist(), counts.tolist(), strict=True)) != receipt.counts:
            raise ValueError("its statuses are not those that its line counts")
        if _rows(receipt) != (receipt.start + np.flatnonzero(columns["status"] == Status.FAILED)).tolist():
            raise ValueError("its failed rows are not those that its line names")
        for name, values in self.decode(receipt.start, receipt.stop).items() if self.decode else ():
            if not np.array_equal(columns[name], values):
                raise ValueError(f"its {name} is not that of the candidates of these rows")

    def _devices(self) -> Iterator[Finding]:
        if len(self.tally.devices) > 1:
            kinds = " and ".join(sorted(self.tally.devices))
            what = f"predicted on {kinds}, which round differently: not what either alone would give, bit for bit"
            yield Finding("device", "blocks", what, wrong=False)
        for name, found in sorted(self.tally.versions):
            begun = self.header.versions.get(name)
            what = f"predicted with {name} {found}, begun with {name} {begun}: bits may differ from block to block"
            yield Finding("versions", "blocks", what, wrong=False)

    def _missing(self) -> Iterator[Finding]:
        for first, last in _runs(block for block in self.tally.missing() if block not in self.unsound):
            rows = f"rows {self.header.bounds(first)[0]} to {self.header.bounds(last)[1]}"
            yield Finding("missing", f"{_span(first, last)} ({rows})", "not committed")

    def _files(self) -> Iterator[Finding]:
        expected = self._expected_files()
        uncommitted: set[int] = set()
        for key in self.place.walk():
            block = self._block_of(key)
            if key.endswith(PARTIAL):
                yield Finding("leftover", key, "a writer was stopped here", wrong=False)
            elif block is not None and block >= self.header.n_blocks:
                yield Finding("foreign", key, f"the run has blocks 0 to {self.header.n_blocks - 1}")
            elif block is not None:
                uncommitted |= {block} - self.unsound if block not in self.tally else set()
            elif key not in expected and not key.startswith(OWN):
                yield Finding("unknown", key, "not a file of the run", wrong=False)
        for first, last in _runs(iter(sorted(uncommitted))):
            yield Finding("uncommitted", _span(first, last), "written but not in the manifest; done again", wrong=False)

    def _block_of(self, key: str) -> int | None:
        name, _, shard = key.partition("/")
        number = shard.split(".")[1:2]
        for column in self.header.columns:
            if column.name == name and number and number[0].isdecimal() and shard == shard_name(column, int(number[0])):
                return int(number[0])
        return None


def _header_of(place: Place) -> tuple[Header, bytes]:
    """Choose the header from whichever copy is sound; of two that differ, the one that the manifest names.

    Raises:
        UserError: Neither is sound, or it cannot be told which is the run's own.
    """
    found = {
        root: headers.parse(root)
        for key in (ROOT, COPY)
        if (root := place.read(key, headers.LARGEST)) and headers.is_sound(root)
    }
    if len(found) == 2:
        named = set(manifest.runs_named(place))
        found = {root: header for root, header in found.items() if header.digest in named}
        if len(found) != 1:
            raise headers.two_runs(place)
    for root, header in found.items():
        return header, root
    if not headers.is_run(place):
        raise UserError(f"{place.url}: no run here. Pass the path that `out` had.")
    raise UserError(f"{place.url}: both copies of the header are damaged. Restore {ROOT} from a backup.")


def _is_another(place: Place, header: Header) -> bool:
    """Check whether every intact line of the manifest belongs to another run than the header."""
    named = manifest.runs_named(place)
    first = next(named, header.digest)
    return first != header.digest and header.digest not in named


def _rows(receipt: BlockReceipt) -> list[int]:
    return sorted(row for ranges in receipt.failures.values() for pair in ranges for row in range(*pair))


def _span(first: int, last: int) -> str:
    return f"block {first}" if first == last else f"blocks {first} to {last}"


def _runs(numbers: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as (first, last)."""
    first = last = next(numbers, None)
    if first is None or last is None:
        return
    for number in numbers:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
