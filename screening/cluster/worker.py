"""What a node runs: Dask's worker, in a folder of the user's own.

python -P -m screening.cluster.worker SCRATCH NAME ADDRESS [options of `dask worker`]

With -P Python does not look for code in the working folder, which others may be able to write. In NAME, %t becomes the
number of the task within its SLURM step, so that no shell is needed to fill it in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cgcnn.errors import UserError
from cgcnn.machine import safe_children
from screening.cluster.security import private_folder


def command(scratch: str, name: str, *arguments: str) -> list[str]:
    """Return the command that becomes the worker.

    Raises:
        UserError: The folder for its files cannot be made.
    """
    own = ["--name", name.replace("%t", os.environ.get("SLURM_PROCID", "0"))]
    own += ["--local-directory", str(private_folder(Path(scratch)))]
    return [sys.executable, "-P", "-m", "distributed.cli.dask_worker", *arguments, *own]


def main() -> None:
    """Become the worker."""
    try:
        words = command(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
    with safe_children():  # what the worker starts has them, too
        os.execv(words[0], words)  # noqa: S606  # no shell, and no other process to hand signals on


if __name__ == "__main__":
    main()
