"""Refuse outputs that would destroy an input, before anything is computed."""

from __future__ import annotations

import os
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import permutations
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.files import STDOUT, failures_path, is_stream, with_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    File = tuple[int, int]
    """Device and inode of a file, which are the same under all of its names."""

ALL = "**"
"""Pattern for a folder that is written or removed as a whole."""


@dataclass(frozen=True)
class Output:
    """A file to write, or a folder to write files into.

    Attributes:
        setting: Setting that names it, such as `csv`.
        path: The file or folder.
        names: Patterns of the names of files to write in the folder; empty if the path is a file.
    """

    setting: str
    path: Path
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.setting if is_stream(self.path) else f"`{self.setting}` {self.path}"

    def takes(self, path: str) -> bool:
        """Return whether a file or folder, by its real path, is written."""
        mine, (folder, name) = os.path.realpath(self.path), os.path.split(path)
        if ALL in self.names:
            return any(_same_name(mine, str(place)) for place in (path, *Path(path).parents))
        if self.names:
            return _same_name(mine, folder) and any(fnmatch(_folded(name), _folded(wanted)) for wanted in self.names)
        return _same_name(mine, path)

    def files(self) -> Iterator[File]:
        """Yield the existing files that would be written."""
        if not self.names:
            yield from _regular(self.path)
        elif ALL not in self.names and self.path.is_dir():
            found = (path for path in self.path.iterdir() if any(fnmatch(path.name, name) for name in self.names))
            yield from (file for path in found for file in _regular(path))


STREAMS = (Output("stdout", STDOUT), Output("stderr", Path("/dev/stderr")))


def of_csv(setting: str, path: Path | None) -> list[Output]:
    """List a table and the table of failures beside it, which is written or removed with it."""
    if path is None:
        return []
    beside = failures_path(path)
    return [Output(setting, path), *([] if beside is None else [Output(setting, beside)])]


def of_name(setting: str, path: Path, ends: Sequence[str]) -> list[Output]:
    """List the files that are written under one name, with these ends."""
    return [Output(setting, with_end(path, end), (ALL,) if end == ".training" else ()) for end in ends]


def refuse_overwriting(inputs: Iterable[str | Path | None], outputs: Iterable[Output | None]) -> None:
    """Refuse outputs that would destroy an input or a file of a run, or that two settings name.

    Files are compared by inode, so links, other spellings and redirected streams are found. In a folder of inputs, the
    files that `cgcnn.data.read` reads are inputs, but not the outputs of these programs.

    Args:
        inputs: Files and folders to read; None, missing files and texts that are no paths are ignored.
        outputs: Files and folders to write; None is ignored. Redirected standard streams are always included.

    Raises:
        UserError: An output is an input, lies in a run, or is named twice.
    """
    files: dict[File, Output] = {}
    wanted = [output for output in outputs if output is not None]
    for output in (*STREAMS, *wanted):
        for file in output.files():
            other = files.setdefault(file, output)
            if other is not output and not is_stream(output.path):
                raise UserError(f"{output}: is the same file as {other}. Name another.")
    named = [output for output in wanted if not is_stream(output.path)]
    _refuse_shared_stream([output for output in wanted if is_stream(output.path)])
    for output in named:
        _refuse_run(output)
    for one, other in permutations(named, 2):
        if one.takes(os.path.realpath(other.path)) or (one.path == other.path and set(one.names) & set(other.names)):
            raise UserError(f"{other}: {'lies in' if ALL in one.names else 'is also'} {one}. Name another place.")
    for given in inputs:
        path = None if given is None else _local(str(given))
        if path is not None and os.path.lexists(path):
            _refuse_input(path, files, named)


def _refuse_shared_stream(outputs: Sequence[Output]) -> None:
    first: dict[Path, str] = {}
    for output in outputs:
        other = first.setdefault(output.path, output.setting)
        if other != output.setting:
            raise UserError(f"`{output.setting}`: goes to {output.path.name}, as `{other}` does. Name a file for one.")


def _refuse_input(path: Path, files: dict[File, Output], outputs: Sequence[Output]) -> None:
    real = os.path.realpath(path)
    for output in outputs:
        if output.takes(real):
            raise _destroys(output, path)
    for inner in _files_in(path):
        for file in _regular(inner):
            if file in files:
                raise _destroys(files[file], inner)


def _files_in(path: Path) -> Iterable[Path]:
    """Return a file itself, or the files read in a folder; none in a run, where nothing may be written anyway."""
    from cgcnn.data.read import inputs_in  # imports numpy, which `--help` does not need

    if not path.is_dir():
        return [path]
    return [] if (path / "zarr.json").exists() else inputs_in(path)


def _refuse_run(output: Output) -> None:
    path = Path(os.path.realpath(output.path))
    itself = [] if ALL in output.names else [path]  # the store decides whether a run may be written
    for folder in (*itself, *path.parents):
        if (folder / "zarr.json").is_file():
            raise UserError(f"{output}: lies in the run {folder}, which holds its own files only. Name another place.")


def _regular(path: Path) -> list[File]:
    """Return device and inode of a regular file, or of the file that a standard stream is redirected to."""
    number = {"/dev/stdout": 1, "/dev/stderr": 2}.get(str(path))
    with suppress(OSError, ValueError):
        found = path.stat() if number is None else os.fstat(number)
        return [(found.st_dev, found.st_ino)] if S_ISREG(found.st_mode) else []
    return []


def _local(text: str) -> Path | None:
    return None if "\x00" in text or "://" in text else Path(text)


def _same_name(one: str, other: str) -> bool:
    """Return whether two real paths are the same, up to case and accents if the file system ignores these."""
    if one == other:
        return True
    if _folded(one) != _folded(other):
        return False
    with suppress(OSError):
        above = next(folder for folder in Path(one).parents if folder.exists())
        return above.samefile(str(above).swapcase())
    return False


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _destroys(output: Output, path: Path) -> UserError:
    if is_stream(output.path):
        return UserError(f"{output}: goes to {path}, which is an input. Send it elsewhere.")
    return UserError(f"{output}: would overwrite the input {path}. Name another place.")
