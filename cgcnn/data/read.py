"""Read data sets as samples in their order: files, directories of files, and several of them.

In directories, outputs of these programs and files that operating systems leave are skipped: see `skipped`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.data.formats import ID_PROP, SUFFIXES, InputFile, kind_of, read_file, read_published
from cgcnn.data.limits import uncompressed_name
from cgcnn.data.samples import Sample, broken
from cgcnn.errors import UserError
from cgcnn.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def read(path: str | Path) -> list[Sample]:
    """Read a file, or a directory of files: its files by name, then those of its subdirectories.

    A directory with an ``id_prop.csv`` is a data set of the published code: the table holds ids and labels, and the
    crystals are ``ID.cif`` beside it. A crystal that cannot be read becomes a broken sample.

    Raises:
        UserError: There is no such file, its format is unknown, it is damaged, or it holds nothing.
    """
    return list(stream([Path(path)]))


def stream(paths: Sequence[Path]) -> Iterator[Sample]:
    """Read files and directories lazily, one after the other, as `read`.

    Among several files, also those of a directory, an unreadable file becomes a broken sample. Crystals without an id
    are named by the stems of their files, or by their relative paths if two stems are the same.

    Raises:
        UserError: As `read`; a path that does not exist or has no known format fails before anything is read.
    """
    found, _ = _sift(paths)
    alone = len(found) == 1 and len(paths) == 1 and (paths[0].is_file() or found[0].path == paths[0])
    for item, name in zip(found, _names(found), strict=True):
        empty = True
        for sample in _samples(item, name, alone=alone):
            empty = False
            yield _placed(sample, item)
        if empty and alone:
            raise UserError(f"{item.path}: no records; expected crystals")
        if empty:
            yield _placed(broken(name, f"{item.path}: no records; expected crystals"), item)


def skipped(paths: Sequence[Path]) -> str:
    """Describe the files that `stream` skips among these files and directories; empty if there are none.

    It skips runs, rankings, predictions, models and exports of these programs, hidden files, and files of operating
    systems such as ``__MACOSX`` and ``Thumbs.db``. Exported crystals are read if there is nothing else.

    Raises:
        UserError: As `stream`.
    """
    _, left = _sift(paths)
    if not left:
        return ""
    what = "outputs or hidden files" if len(left) > 1 else "output or hidden file"
    return f"skipped {len(left)} {what}, such as {left[0]}; to read one, name it alone"


def inputs_in(folder: Path) -> list[Path]:
    """List the files that `stream` reads in a directory."""
    try:
        found, _ = _sift([folder])
    except UserError:
        return []
    files: list[Path] = []
    for item in found:
        files += [path for path in item.path.iterdir() if path.is_file()] if item.path.is_dir() else [item.path]
    return files


def _sift(paths: Sequence[Path]) -> tuple[list[_Found], list[Path]]:
    """Find what to read and what to skip.

    Raises:
        UserError: A path does not exist or has no known format, or a directory holds nothing to read.
    """
    for path in paths:
        _check(path)
    found: list[_Found] = []
    exported: list[_Found] = []
    left: list[_Found] = []
    for path in paths:
        if path.is_file():
            (left if len(paths) > 1 and _is_own(path) else found).append(_Found(path, str(path)))
            continue
        crystals, own, others = _walk(path)
        found += crystals
        exported += own
        left += others
        if not (crystals or own or len(paths) > 1):
            only = f", beside {len(others)} outputs or hidden files" if others else ""
            raise UserError(f"{path}: holds no file of a known format ({', '.join(SUFFIXES)}, POSCAR){only}")
    if not found:
        found, exported = exported, []
    if paths and not found:
        raise UserError(f"{paths[0]}: only outputs or hidden files, and no crystals")
    return found, [item.path for item in [*left, *exported]]


def _placed(sample: Sample, item: _Found) -> Sample:
    """Add the path of a sample's file within the directory that was read; none if a file was read directly."""
    inside = "" if item.root is None else os.path.relpath(sample.path or item.path, item.root)
    return replace(sample, path=inside)


@dataclass(frozen=True)
class _Found:
    """A file or a directory with an ``id_prop.csv``, or something that cannot be read.

    Attributes:
        path: Where it is.
        relative: Path from the root; the path itself if there is no root.
        root: Directory that was asked for; None if the file was.
        reason: Why it cannot be read.
    """

    path: Path
    relative: str
    root: Path | None = None
    reason: str = ""


def _check(path: Path) -> None:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not there:
        raise UserError(f"{path}: no such file or directory")
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: neither a file nor a directory; write its content to a file first")
    if path.is_file() and kind_of(path) is None:
        known = ", ".join(SUFFIXES)
        raise UserError(f"{path}: unknown format; known are {known} (also .gz, .xz, .bz2), POSCAR and directories")


def _walk(root: Path) -> tuple[list[_Found], list[_Found], list[_Found]]:
    """Find what to read in a directory and below, exported crystals, and what to skip."""
    found: list[_Found] = []
    exported: list[_Found] = []
    left: list[_Found] = []
    seen: set[str] = set()
    refused: list[OSError] = []
    for here, folders, names in os.walk(root, onerror=refused.append, followlinks=True):
        folder, real = Path(here), os.path.realpath(here)
        if real in seen:  # a link to a directory above it
            folders.clear()
            continue
        seen.add(real)
        if (
            _RUN.intersection(names)
            or folder.suffix == ".training"
            or _OWN_SETTINGS.match(_head(folder / "settings.json", 99))
        ):
            folders.clear()
            left.append(_Found(folder, str(folder.relative_to(root)), root))
            continue
        folders[:] = sorted(name for name in folders if not _OF_SYSTEMS.fullmatch(name))
        if ID_PROP in names:
            folders.clear()
            found.append(_Found(folder, str(folder.relative_to(root)), root))
            continue
        for file in (folder / name for name in sorted(names) if name != "atom_init.json"):
            if kind_of(file) or _OF_SYSTEMS.fullmatch(file.name):
                own = _OF_SYSTEMS.fullmatch(file.name) or _is_own(file)
                (left if own else exported if _is_exported(file) else found).append(_looked_at(file, root))
    found += [_Found(Path(e.filename), str(e.filename), root, f"cannot be listed ({e.strerror})") for e in refused]
    return found, exported, left


_RUN = {"zarr.json", ".zgroup", ".zarray"}
_OF_SYSTEMS = re.compile(r"\..*|__MACOSX|(?:eh)?Thumbs\.db|desktop\.ini", re.IGNORECASE)
_OWN_TABLES = re.compile(
    r"rank,index,formula,.*|index,(?:.*,)?reason|id,(?:prediction(?:,std)?|reason)|metric,target,value,unit,split,input"
    r"|member,epoch,loss,validation_loss|id(?:,([^,]+),\1_prediction)+|recipe,training,epochs,metric,value,unit,test"
    r"|element,site,contribution,std,count,prediction"
)
"""First lines of tables that these programs write."""
_OWN_SETTINGS = re.compile(rb'\{\s*"program": "')  # written by relaxations
_OWN_JSON = re.compile(rb'\{\s*"model": "[^"]*",\s*"digest": ')
_EXPORTED_NAME = re.compile(r"[0-9]{4,}-.*-[0-9]+(-[abc0+-]{6})?\.(cif|vasp)")
_EXPORTED = re.compile(rb'"rank": \d+, "index": \d+|"_screen_rank"|\brank=\d+ index=\d+')


def _is_own(file: Path) -> bool:
    """Return whether these programs wrote a file: a table, figures, or the card of a model."""
    if file.suffix == ".csv":
        line = _head(file, 2**14).partition(b"\n")[0].rstrip(b"\r").decode("utf-8", errors="replace")
        return _OWN_TABLES.fullmatch(line) is not None
    if file.suffix == ".json":
        return file.with_suffix(".safetensors").exists() or _OWN_JSON.match(_head(file, 2**14)) is not None
    return False


def _is_exported(file: Path) -> bool:
    """Return whether a file holds crystals that these programs exported from a ranking."""
    if kind_of(file) in {"cif", "poscar"}:
        return _EXPORTED_NAME.fullmatch(file.name) is not None
    kinds = {".json", ".jsonl", ".xyz", ".extxyz", ".db"}
    return file.suffix in kinds and _EXPORTED.search(_head(file, 2**18)) is not None


def _head(file: Path, size: int) -> bytes:
    """Return the first bytes of a regular file; empty if it cannot be read, which its reader reports later."""
    try:
        with open_regular(file) as stream:
            return stream.read(size)
    except OSError:
        return b""


def _looked_at(file: Path, root: Path) -> _Found:
    reason = "" if file.is_file() else "not a regular file" if file.exists() else "a broken link"
    return _Found(file, str(file.relative_to(root)), root, reason)


def _names(found: Sequence[_Found]) -> list[str]:
    """Name the crystal of each file: by its stem, or by its path if the stem is not unique."""
    stems = [Path(uncompressed_name(item.path)).stem for item in found]
    relative = [item.relative for item in found]
    of_stem, of_relative = Counter(stems), Counter(relative)
    taken = zip(stems, relative, found, strict=True)
    return [
        stem if of_stem[stem] == 1 else short if of_relative[short] == 1 else str(item.path)
        for stem, short, item in taken
    ]


def _samples(item: _Found, name: str, *, alone: bool) -> Iterator[Sample]:
    """Read the samples of a file; an unreadable file becomes a broken sample unless it is alone."""
    if item.reason:
        yield broken(name, f"{item.path}: {item.reason}")
        return
    try:
        if item.path.is_dir():
            yield from read_published(item.path)
        else:
            yield from read_file(InputFile(item.path, name, "" if alone else f"{name}-"))
    except UserError as error:
        if alone:
            raise
        yield broken(name, str(error))
