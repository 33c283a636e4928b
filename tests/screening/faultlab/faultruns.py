"""What is in a run after a fault, and faults of the disk that it lies on."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import zarr

from screening.store import BlockReceipt, StoredRun


@lru_cache(maxsize=4)
def reference(run: Path) -> dict[str, np.ndarray]:
    """The arrays of a run that does not change any more."""
    return arrays(run)


def arrays(run: Path | str) -> dict[str, np.ndarray]:
    """All arrays of a run, as plain Zarr reads them."""
    group = zarr.open_group(str(run), mode="r")
    return {name: np.asarray(group[name][:]) for name in sorted(group.array_keys())}


@dataclass(frozen=True)
class Difference:
    """Rows of a run against those of an undisturbed one, and against its manifest.

    Attributes:
        lost: rows that were never written or never committed.
        duplicated: rows that the manifest counts more than once.
        wrong: rows of which any bit differs.
    """

    lost: int
    duplicated: int
    wrong: int

    @property
    def none(self) -> bool:
        """Whether the two are the same, bit for bit."""
        return self == Difference(0, 0, 0)


def compare(run: Path | str, undisturbed: Path) -> Difference:
    """How a finished run differs from an undisturbed one."""
    expected, found = reference(undisturbed), arrays(run)
    rows = len(expected["status"])
    if found.keys() != expected.keys() or len(found["status"]) != rows:
        return Difference(rows, 0, rows)
    differs = np.zeros(rows, dtype=bool)
    for name, values in expected.items():
        differs |= (_bytes(values) != _bytes(found[name])).any(axis=1)
    times = np.zeros(rows, dtype=np.int64)
    for receipt in lines(run):
        times[receipt.start : receipt.stop] += 1
    lost = (found["status"] == 0) | (times == 0)
    return Difference(int(lost.sum()), int((times > 1).sum()), int((differs & ~lost).sum()))


def lines(run: Path | str) -> list[BlockReceipt]:
    """The lines of the manifest, repeated ones as often as they are there."""
    from screening.store import header, manifest
    from screening.store.place import open_place

    place = open_place(str(run))
    return list(manifest.read(place, header.load(place)[0]))


def committed(run: Path | str) -> set[int]:
    """Numbers of the committed blocks; none where there is no run yet."""
    return {receipt.block for receipt in lines(run)} if Path(run).exists() else set()


def promised_but_absent(run: Path) -> int:
    """Committed blocks whose content cannot be read back from the disk."""
    opened = StoredRun.open(str(run))
    names = [column.name for column in opened.header.columns]
    return opened.n_committed - sum(1 for _ in opened.blocks(names))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """A disk of so many bytes mounted on an empty folder; yields a function that gives it another size."""
    folder.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(folder)], check=True, capture_output=True)

    mount("-t", "tmpfs", "-o", f"size={size}", "none")
    try:
        yield lambda bytes_: mount("-o", f"remount,size={bytes_}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a disk."""
    try:
        with small_disk(folder / "mount-trial", 4096):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
    finally:
        (folder / "mount-trial").rmdir()


def flip(path: Path, byte: int, bit: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    """Keep the first so many bytes of a file."""
    os.truncate(path, size)


def _bytes(values: np.ndarray) -> np.ndarray:
    """(rows, bytes of a row)."""
    return np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8).reshape(len(values), -1)
