"""Folders for Dask's own files that nobody else can put anything into.

Dask puts the folders of schedulers and workers on `sys.path`. Its own choice of a place, ``dask-scratch-space`` in the
folder for temporary files, is one name for all users: whoever makes it first can put code there.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.machine import safe_children

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def private_scratch() -> Iterator[Path]:
    """Give all schedulers, workers and clients of this process a folder of their own, removed at the end.

    Processes that are started meanwhile do not look for code in the working folder.

    Raises:
        UserError: It cannot be made.
    """
    import dask  # half a second that planning does without

    parent = _safe(Path(tempfile.gettempdir()))
    try:
        folder = Path(tempfile.mkdtemp(prefix="screen-", dir=parent))  # mode 0700
    except OSError as error:
        raise _impossible(parent, error) from None
    try:
        with dask.config.set({"temporary-directory": str(folder)}), safe_children():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_folder(parent: Path) -> Path:
    """Find or make a folder that belongs to the user alone, the same one each time if possible.

    Args:
        parent: Where; others may write there too. If they could also rename what is there, a folder in the user's cache
            is taken.

    Raises:
        UserError: It cannot be made.
    """
    safe = _safe(parent)
    folder = safe / f"screen-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix="screen-", dir=safe))
    except FileExistsError:
        return Path(tempfile.mkdtemp(prefix="screen-", dir=safe))
    except OSError as error:
        raise _impossible(folder, error) from None


def _safe(parent: Path) -> Path:
    """The folder itself, without links, if nobody else can rename what we make in it; else one in the user's cache."""
    real = Path(os.path.realpath(parent))
    if all(map(_keeps_names, (real, *real.parents))):
        return real
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perovskite-screening" / "scratch"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _impossible(cache, error) from None
    return cache


def _keeps_names(folder: Path) -> bool:
    """Say whether only its owner, we or the system, or the owner of an entry can rename an entry."""
    try:
        found = folder.stat()
    except OSError:
        return True  # it is not there; making a folder in it will say so
    shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    return found.st_uid in {0, os.getuid()} and not shared


def _impossible(folder: Path, error: OSError) -> UserError:
    return UserError(f"{folder}: {error.strerror or error}. Workers need a folder for their own files.")
