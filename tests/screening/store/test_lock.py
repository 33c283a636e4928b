"""One committing client at a time, also when holders die, stop, or sit on another machine."""

import json
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from cgcnn.errors import UserError
from screening.store import StoredRun, lock
from screening.store.header import MANIFEST
from screening.store.place import open_place

HOLD = """
from screening.store import StoredRun
import time
with StoredRun.resume(sys.argv[1], toy.header) as run:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(toy, url):
    """Of a run that nobody holds."""
    toy.make(url, range(1))
    return open_place(url)


def claim_of(place):
    (name,) = (name for name in place.names(MANIFEST) if name.startswith("lock-"))
    return f"{MANIFEST}/{name}"


def pretend(place, **changes: object) -> None:
    """Change what the one claim says of its holder."""
    key = claim_of(place)
    place.write({key: json.dumps({**json.loads(place.read(key)), **changes}).encode()})


def traces(place) -> list[str]:
    return [name for name in place.names(MANIFEST) if name.startswith(("lock", "beat"))]


def test_second_client_is_refused_with_the_holder_named(toy, place):
    with (
        StoredRun.resume(place.url, toy.header),
        pytest.raises(UserError, match=r"is in use by process \d+ of .* on .* since .*\. Wait for it or stop it"),
    ):
        StoredRun.resume(place.url, toy.header)
    assert traces(place) == []
    StoredRun.resume(place.url, toy.header).close()


def test_parts_are_locked_apart(place):
    first, second = lock.acquire(place, 0), lock.acquire(place, 1)
    assert first.held()
    assert second.held()
    first.release()
    assert second.held()
    second.release()


@pytest.mark.slow
def test_killed_holder_is_cleared_away_at_once(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(1))
    holder = python(HOLD, url)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {holder.pid} "):
        StoredRun.resume(url, toy.header)
    holder.send_signal(signal.SIGKILL)
    wait_for_death(holder.pid)  # not reaped: a zombie must not count as alive
    start = time.monotonic()
    assert toy.resume(url) == 4
    assert time.monotonic() - start < 5
    assert traces(open_place(url)) == []


def wait_for_death(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


@pytest.mark.slow
def test_stopped_holder_still_holds(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(1))
    holder = python(HOLD, url)
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(UserError, match=f"process {holder.pid} "):
        StoredRun.resume(url, toy.header)


def test_reused_process_number_does_not_mislead(place):
    lock.acquire(place)
    pretend(place, start=1)
    assert lock.acquire(place).held()


def test_holder_elsewhere_is_refused_while_its_heart_beats(place):
    held = lock.acquire(place, beat=0.05)
    pretend(place, host="node7", boot="another boot")
    with pytest.raises(UserError, match=r"in use by process \d+ of .* on node7"):
        lock.acquire(place, patience=5.0)
    assert held.held()
    held.release()


def test_holder_elsewhere_without_heartbeat_is_taken_over(place):
    old = lock.acquire(place, beat=100.0)
    pretend(place, host="node7", boot="another boot")
    new = lock.acquire(place, patience=0.2)
    assert new.held()
    assert not old.held()
    new.release()


def test_claim_that_cannot_be_read_is_judged_by_its_heartbeat(place):
    held = lock.acquire(place, beat=0.05)
    place.write({claim_of(place): b"\x00garbage"})
    with pytest.raises(UserError, match="an unknown host"):
        lock.acquire(place, patience=5.0)
    held.release()
    place.write({f"{MANIFEST}/lock-0000.dead.json": b"\x00garbage"})
    lock.acquire(place, patience=0.2).release()
    assert traces(place) == []


def test_clocks_are_never_compared(place, monkeypatch):
    held = lock.acquire(place, beat=0.05)
    pretend(place, since="2099-01-01T00:00:00+00:00", boot="another boot")
    monkeypatch.setattr(lock.time, "time", lambda: 0.0)
    monkeypatch.setattr(lock, "datetime", Jumped)
    with pytest.raises(UserError, match="since 2099"):
        lock.acquire(place, patience=5.0)
    held.release()
    lock.acquire(place).release()


class Jumped(datetime):
    """A clock that was set back for years."""

    @classmethod
    def now(cls, tz=None):
        return cls(1971, 1, 1, tzinfo=tz)


def test_client_that_lost_its_lock_cannot_commit(toy, place):
    with StoredRun.resume(place.url, toy.header) as late:
        receipt = toy.write(late.target, 1)
        place.delete(claim_of(place))
        with pytest.raises(UserError, match="another process took this run over"):
            late.commit(receipt)
    assert StoredRun.open(place.url).n_committed == 1


def test_two_who_meet_step_back_and_one_holds_in_the_end(place, monkeypatch):
    """A claim that appears between listing and claiming."""
    seen = iter([True, False])
    listed = lock.claims

    def claims(where, part):
        found = list(listed(where, part))
        if found and next(seen, False):
            return iter([*found, lock.Holder("rival", "node7", 1, 1, "", "someone", "now")])
        return iter(found)

    monkeypatch.setattr(lock, "claims", claims)
    held = lock.acquire(place)
    assert held.held()
    assert len(traces(place)) == 1
    held.release()


RACE = """
from cgcnn.errors import UserError
from screening.store import lock
from screening.store.place import open_place
import time
place = open_place(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    held = lock.acquire(place)
except UserError as error:
    print("refused", flush=True)
else:
    print("held", flush=True)
    time.sleep(2)
    print(held.held(), flush=True)
    held.release()
"""


@pytest.mark.slow
def test_of_several_that_race_at_most_one_holds(toy, tmp_path, python):
    url = str(tmp_path / "R.zarr")
    toy.make(url, range(1))
    racers = [python(RACE, url) for _ in range(4)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 4
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [racer.communicate()[0].split() for racer in racers]
    assert sorted(results) == [["held", "True"], *[["refused"]] * 3]
