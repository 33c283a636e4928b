"""Certificates made for one run: who has them may talk to its scheduler and workers, and nobody else."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cgcnn.errors import UserError
from cgcnn.files import read_text
from cgcnn.machine import safe_children
from screening.store.lock import Holder, alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Security


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
    """Return the folder itself, without links, if nobody else can rename what we make in it.

    Else one in the user's cache.
    """
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


PREFIX = ".tls-"
OWNER = "owner.json"
YEARS = 1
"""How long a certificate is valid; no run of one client lasts longer."""
ROLES = ("client", "scheduler", "worker")


def in_memory() -> Security:
    """Make a certificate and its key for processes that this one starts and hands them to."""
    certificate, key = make_certificate()
    return _security(certificate, key)


@contextmanager
def certificates(beside: Path) -> Iterator[Security]:
    """Write a certificate and its key to files that last as long as the run.

    Those of runs on this machine that were killed are removed first.

    Args:
        beside: Folder, on a file system that the workers share, in which a folder that only the user can enter is made.

    Raises:
        UserError: The folder cannot be written.
    """
    try:
        beside.mkdir(parents=True, exist_ok=True)
        sweep(beside)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside.absolute()))  # mode 0700
    except OSError as error:
        raise UserError(f"{beside}: {error.strerror}. Name another folder for `logs` in the profile.") from None
    try:
        _private(folder / OWNER, json.dumps(asdict(Holder.here())))
        certificate, key = make_certificate()
        yield _security(_private(folder / "certificate.pem", certificate), _private(folder / "key.pem", key))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(beside: Path) -> None:
    """Remove the certificates of the user's processes on this machine that are gone."""
    for folder in beside.glob(f"{PREFIX}*"):
        found = folder.lstat()
        if not folder.is_symlink() and found.st_uid == os.getuid() and _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def make_certificate() -> tuple[str, str]:
    """Make one certificate that is its own authority, and its key, both PEM; only who has the key can connect.

    On an elliptic curve, for that takes a millisecond; Dask's own way takes a hundred.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "dask-internal")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("dask-internal")]), critical=False)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks of nodes differ
        .not_valid_after(now + dt.timedelta(days=365 * YEARS))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return (
        certificate.public_bytes(pem).decode(),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode(),
    )


def _security(certificate: str, key: str) -> Security:
    """For all roles the same; Dask takes PEM or paths."""
    from distributed import Security

    pairs = {f"tls_{role}_cert": certificate for role in ROLES} | {f"tls_{role}_key": key for role in ROLES}
    return Security(require_encryption=True, tls_ca_file=certificate, **pairs)


def _abandoned(folder: Path) -> bool:
    try:
        return alive(Holder(**json.loads(read_text(folder / OWNER)))) is False
    except (OSError, ValueError, TypeError, RecursionError):
        return False  # another one is just being made, or it is none of ours


def _private(path: Path, text: str) -> str:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123  # Path.open takes no mode bits
        file.write(text)
    return str(path)
