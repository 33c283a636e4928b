"""One committing client at a time for each part of a manifest.

A claim is a file of the claimant's own. Whoever finds no other claim *after* writing one holds the lock: of two that
come at the same moment at least one sees the other and steps back. It needs no conditional write, so the same code
serves directories and object stores. The lock guards against waste and confusion; should it ever fail, two clients
would commit the same blocks with the same content.

Whether a holder lives is asked of the kernel where it runs in this boot and process namespace (process number and
start time, so a reused number does not mislead). Elsewhere its heartbeat is watched, on this process's own monotonic
clock: no two clocks are compared, so a clock that jumps changes nothing.
"""

from __future__ import annotations

import getpass
import json
import logging
import math
import os
import random
import re
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cgcnn.errors import UserError
from cgcnn.files import printable
from screening.store.header import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from screening.store.place import Place

BEAT = 5.0  # s between heartbeats
PATIENCE = 60.0  # s without a heartbeat after which a holder elsewhere counts as gone: many beats, for slow disks
SMALLEST = 2**16  # bytes of a claim or a heartbeat
TRIES = 5  # times that claimants who met step back before giving up

log = logging.getLogger(__name__)


class InUseError(UserError):
    """Somebody else holds the lock."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: Unique name of the claim.
        host: Name of the machine.
        pid: Process number there.
        start: Start time of the process in clock ticks since boot; 0 where the system does not tell.
        boot: Identity of the machine's current boot and process namespace; empty where the system does not tell.
        user: Account.
        since: UTC time, for people only.
    """

    token: str
    host: str
    pid: int
    start: int
    boot: str
    user: str
    since: str

    @classmethod
    def here(cls) -> Self:
        """Describe this process."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(uuid.uuid4().hex, socket.gethostname(), os.getpid(), _start(os.getpid()), _boot(), _user(), now)

    def __str__(self) -> str:
        return printable(f"process {self.pid} of {self.user} on {self.host} since {self.since}")


class Lock:
    """A held lock with its heartbeat. `release` it, or die: both free it.

    Attributes:
        holder: Who holds it.
        rate: What the holder wants others to know of its speed, candidates/s; the heart tells it.
    """

    def __init__(self, place: Place, part: int, holder: Holder, beat: float) -> None:
        self.holder, self.rate = holder, 0.0
        self._place, self._part = place, part
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(beat,), name="run-lock", daemon=True)
        self._thread.start()

    def held(self) -> bool:
        """Check whether the claim is still there.

        Another client may have taken over from one that was stopped for long.
        """
        return self._place.exists(_claim_key(self._part, self.holder.token))

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        self._thread.join()
        _withdraw(self._place, self._part, self.holder.token)

    def _beat(self, beat: float) -> None:
        count = 0
        while not self._stop.wait(beat):
            count += 1
            try:
                self._place.write({_beat_key(self._part, self.holder.token): f"{count} {self.rate:.6g}".encode()})
            except (UserError, RuntimeError) as error:
                if "shutdown" in str(error):  # Python ends, and starts no more threads: the holder is as good as gone
                    return
                # A full disk, or no thread to be had, must not stop the run; commits will tell.
                log.warning("heartbeat of the lock failed: %s", error)


def acquire(place: Place, part: int = 0, *, beat: float = BEAT, patience: float = PATIENCE) -> Lock:
    """Take the lock of a part of the manifest; a holder that is gone is cleared away.

    Args:
        place: Of the run.
        part: Of the manifest.
        beat: Seconds between heartbeats.
        patience: Seconds to watch the heart of a holder elsewhere.

    Raises:
        InUseError: Naming the holder if it lives.
    """
    _clear(place, part, patience)
    for _ in range(TRIES):
        mine = Holder.here()
        place.write({_claim_key(part, mine.token): json.dumps(asdict(mine)).encode()})
        others = [holder for holder in claims(place, part) if holder.token != mine.token]
        if not others:
            return Lock(place, part, mine, beat)
        _withdraw(place, part, mine.token)
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311  # only to part two claimants
        _clear(place, part, patience)
    raise _refusal(place, others[0])


def claims(place: Place, part: int) -> Iterator[Holder]:
    """Everyone who holds or wants the lock of a part."""
    prefix = f"lock-{part:04d}."
    for name in sorted(place.names(MANIFEST)):
        if name.startswith(prefix) and name.endswith(".json"):
            data = place.read(f"{MANIFEST}/{name}", SMALLEST)
            if data is not None:  # None: withdrawn since the listing
                yield _holder(data, name.removeprefix(prefix).removesuffix(".json"))


def rate(place: Place, part: int, holder: Holder) -> float:
    """Return the speed that a holder's heartbeat told last, candidates/s; 0 if nothing yet."""
    _, _, told = (place.read(_beat_key(part, holder.token), SMALLEST) or b"").partition(b" ")
    try:
        found = float(told)
    except ValueError:
        return 0.0
    return found if 0 < found < math.inf else 0.0


def alive(holder: Holder) -> bool | None:
    """Check whether the holder lives; None if it is on another machine, so that only its heartbeat could tell."""
    if holder.boot and holder.boot == _boot():
        return _start(holder.pid) == holder.start
    return None


def at_work(place: Place) -> list[Holder]:
    """Who holds or wants the lock of any part, but for those who are certainly gone."""
    return [holder for part in parts(place) for holder in claims(place, part) if alive(holder) is not False]


def parts(place: Place) -> list[int]:
    """List the parts of the manifest that somebody holds or wants the lock of."""
    found = (re.fullmatch(r"lock-(\d{4})\..*\.json", name) for name in place.names(MANIFEST))
    return sorted({int(match[1]) for match in found if match})


def _clear(place: Place, part: int, patience: float) -> None:
    for holder in list(claims(place, part)):
        if not _gone(place, part, holder, patience):
            raise _refusal(place, holder)
        log.warning("%s: taking over from %s, which is gone", place.url, holder)
        _withdraw(place, part, holder.token)


def _refusal(place: Place, holder: Holder) -> InUseError:
    return InUseError(f"{place.url} is in use by {holder}. Wait for it or stop it, then try again with `resume`.")


def _withdraw(place: Place, part: int, token: str) -> None:
    place.delete(_claim_key(part, token))
    place.delete(_beat_key(part, token))


def _gone(place: Place, part: int, holder: Holder, patience: float) -> bool:
    if (here := alive(holder)) is not None:
        return not here
    log.warning("%s: held by %s; watching up to %.0f s for a sign of life", place.url, holder, patience)
    return _silent(place, part, holder.token, patience)


def _silent(place: Place, part: int, token: str, patience: float) -> bool:
    first = place.read(_beat_key(part, token), SMALLEST)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        time.sleep(min(1.0, patience / 10))
        if not place.exists(_claim_key(part, token)):
            return True
        if place.read(_beat_key(part, token), SMALLEST) != first:
            return False
    return True


def _claim_key(part: int, token: str) -> str:
    return f"{MANIFEST}/lock-{part:04d}.{token}.json"


def _beat_key(part: int, token: str) -> str:
    return f"{MANIFEST}/beat-{part:04d}.{token}"


def _holder(data: bytes, token: str) -> Holder:
    """Read a claim; of a damaged one only the heartbeat can tell whether its owner lives."""
    try:
        found = Holder(**{**json.loads(data), "token": token})
        texts = (found.host, found.boot, found.user, found.since)
        if all(type(number) is int for number in (found.pid, found.start)) and all(isinstance(t, str) for t in texts):
            return found
    except (ValueError, TypeError, RecursionError):
        pass
    return Holder(token, "an unknown host", 0, 0, "", "an unknown user", "an unknown time")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        return f"user {os.getuid()}"


def _boot() -> str:
    """Boot and process namespace: a process number means the same thing only where both are equal. Linux only."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start(pid: int) -> int:
    """Start time of a living process in ticks since boot, which no clock change moves; 0 if there is none. Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
