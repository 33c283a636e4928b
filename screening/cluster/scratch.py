"""A folder for the workers' own files that nobody else can put anything into."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cgcnn.errors import UserError


def private_folder(parent: Path) -> Path:
    """A folder that belongs to the user alone, the same one each time if possible.

    Dask's workers import code from their folders. Its own choice, one name for all users in the folder for temporary
    files, would let whoever makes that first put code there.

    Args:
        parent: Where; others may write there too.

    Raises:
        UserError: It cannot be made.
    """
    folder = parent / f"screen-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix="screen-", dir=parent))
    except FileExistsError:
        return Path(tempfile.mkdtemp(prefix="screen-", dir=parent))
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}. Workers need a folder for their own files.") from None
