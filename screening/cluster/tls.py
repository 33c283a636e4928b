"""Certificates made for one run: who has them may talk to its scheduler and workers, and nobody else."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Security


@contextmanager
def certificates(beside: Path) -> Iterator[Security]:
    """A certificate and its key as files, for as long as the run lasts.

    Args:
        beside: Folder, on a file system that the workers share, in which a folder that only the user can enter is made.

    Raises:
        UserError: The folder cannot be written, or the package that makes certificates is missing.
    """
    from distributed import Security  # noqa: PLC0415  # half a second that planning does without

    try:
        beside.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tls-", dir=beside.absolute()))  # mode 0700
    except OSError as error:
        raise UserError(f"{beside}: {error.strerror}. Name another folder for `logs` in the profile.") from None
    try:
        made = _make()
        certificate = _private(folder / "certificate.pem", made["cert"])
        key = _private(folder / "key.pem", made["key"])
        roles = ("client", "scheduler", "worker")
        files = {f"tls_{role}_cert": certificate for role in roles} | {f"tls_{role}_key": key for role in roles}
        yield Security(require_encryption=True, tls_ca_file=certificate, **files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make() -> dict[str, str]:
    """One certificate that is its own authority: whoever has its key is one of us."""
    from distributed import Security  # noqa: PLC0415

    try:
        return dict(Security.temporary().get_tls_config_for_role("client"))
    except ImportError:
        raise UserError(
            "workers beyond this machine need certificates: pip install 'perovskite-screening[slurm]'."
        ) from None


def _private(path: Path, text: str) -> str:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123  # Path.open takes no mode bits
        file.write(text)
    return str(path)
