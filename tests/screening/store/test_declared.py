"""Runs that somebody made to do harm: nothing hangs, nothing is read without bound, and one line names what is odd."""

import json
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from numcodecs.zstd import Zstd

from cgcnn.errors import UserError
from screening.store import StoredRun, lock, verify
from screening.store.header import NESTED, ROOT, _digest, canonical, parse
from screening.store.manifest import log_key
from screening.store.place import LocalPlace
from screening.store.records import Index, Records, chunk_key
from screening.store.shard import decode, encode

GIB = 2**30


def bounded(code: str, *arguments: object, memory: int = 2 * GIB, seconds: float = 60) -> str:
    """Run code that may use so much address space and time; its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


VERIFY = """
import sys
from screening.store import StoredRun, verify
from cgcnn.errors import UserError
try:
    print(verify(sys.argv[1]).text())
    with StoredRun.open(sys.argv[1]) as run:
        run.read([column.name for column in run.header.columns], 0, run.header.rows)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("odd", ["fifo", "device", "directory", "dangling", "huge"])
@pytest.mark.parametrize("where", ["e_above_hull/c.2", "zarr.json", log_key(0), "status/manifest/header.json"])
def test_what_is_no_file_of_a_run_is_named_and_never_waited_for(toy, tmp_path, odd, where):
    toy.make(str(tmp_path / "R.zarr"))
    path = tmp_path / "R.zarr" / where
    path.unlink()
    if odd == "fifo":
        os.mkfifo(path)
    elif odd == "device":
        path.symlink_to("/dev/zero")
    elif odd == "directory":
        path.mkdir()
    elif odd == "dangling":
        path.symlink_to(tmp_path / "none")
    else:
        with path.open("wb") as file:
            file.truncate(8 * GIB)  # sparse
    told = bounded(VERIFY, tmp_path / "R.zarr")
    assert where.split("/")[-1] in told or "is missing" in told or "not committed" in told
    assert "Every candidate is there exactly once" not in told


def test_claims_and_heartbeats_that_are_no_files_are_named(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"))
    os.mkfifo(tmp_path / "R.zarr" / "status" / "manifest" / "lock-0000.x.json")
    place = LocalPlace(tmp_path / "R.zarr")
    with pytest.raises(UserError, match=r"lock-0000\.x\.json: not a regular file"):
        lock.at_work(place)
    with pytest.raises(UserError, match="not a regular file"):
        StoredRun.resume(place.url, toy.header)


@pytest.mark.parametrize(
    "claim",
    [
        {"pid": "../../tmp/x"}, {"pid": 1.5}, {"start": []}, {"boot": 7}, {"host": None}, {"user": {}}, {"since": 1},
    ],
)  # fmt: skip
def test_claims_of_odd_types_are_of_unknown_holders(toy, tmp_path, claim):
    toy.make(str(tmp_path / "R.zarr"))
    place = LocalPlace(tmp_path / "R.zarr")
    fields = {**vars(lock.Holder.here()), **claim}
    place.write({"status/manifest/lock-0000.x.json": json.dumps(fields).encode()})
    (holder,) = lock.claims(place, 0)
    assert holder.pid == 0
    assert lock.alive(holder) is None


@pytest.mark.parametrize("told", [b"1 nan", b"1 inf", b"1 -5", b"1 1e999", b"x", b""])
def test_odd_rates_are_none(toy, tmp_path, told):
    toy.make(str(tmp_path / "R.zarr"))
    place, holder = LocalPlace(tmp_path / "R.zarr"), lock.Holder.here()
    place.write({f"status/manifest/beat-0000.{holder.token}": told})
    assert lock.rate(place, 0, holder) == 0


def forged(line: bytes, **changes: object) -> bytes:
    """A line of a manifest with other content, and a CRC that fits."""
    record = {**json.loads(line), **changes}
    del record["crc"]
    return canonical({**record, "crc": f"{zlib.crc32(canonical(record)):08x}"}) + b"\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"failures": {"x": [[20, 10**18]]}},
        {"failures": {"x": [[0, 1]]}},
        {"failures": {"x": [[24, 25], [24, 25]]}},
        {"failures": {"x": [[25, 24]]}},
        {"failures": {"x": [[24.0, 25.0]]}},
        {"failures": {"x": [[True, 25]]}},
        {"failures": {"x": [[24, 25, 26]]}},
        {"failures": {}},
        {"failures": []},
        {"counts": {"1": 10**18, "10": -(10**18) + 20}},
        {"counts": {"1": 20.0}},
        {"counts": [20]},
        {"worker": 5},
        {"device": ["cpu"]},
        {"versions": {"torch": 2}},
        {"rows": 20.0},
    ],
    ids=str,
)
def test_a_line_beyond_its_block_is_damaged(toy, tmp_path, changes):
    url = str(tmp_path / "R.zarr")
    toy.make(url)
    part = tmp_path / "R.zarr" / log_key(0)
    lines = part.read_bytes().splitlines(keepends=True)
    lines[1] = forged(lines[1], **changes)
    part.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=r"line 2 of .* is damaged"):
        StoredRun.open(url)
    assert "manifest" in {finding.kind for finding in verify(url).findings}
    assert forged(lines[0]) == lines[0]


def arrays(document):
    return document["consolidated_metadata"]["metadata"]


def headers(toy, tmp_path, change):
    """The bytes of a header with other content, and the digest that fits."""
    toy.make(str(tmp_path / "R.zarr"))
    document = json.loads((tmp_path / "R.zarr" / ROOT).read_bytes())
    attributes = document["attributes"]
    attributes |= {name: json.loads(attributes[name]) for name in NESTED}
    change(document)
    attributes |= {name: canonical(attributes[name]).decode() for name in NESTED}
    attributes["digest"] = _digest(document)
    return canonical(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["attributes"].update(block_rows=10**15, rows=10**15), "up to 67108864"),
        (lambda d: d["attributes"].update(rows=1e9), "whole numbers"),
        (lambda d: d["attributes"]["columns"][0].update(dtype="V1000000000"), "not a type of numbers"),
        (lambda d: d["attributes"]["columns"][0].update(dtype="O"), "not a type of numbers"),
        (lambda d: d["attributes"]["columns"][0].update(shape=[10**9]), "rows of shape"),
        (lambda d: d["attributes"]["columns"][0].update(shape=[-5]), "rows of shape"),
        (lambda d: d["attributes"].update(filters=[1]), "not text"),
        (lambda d: d["attributes"].update(versions={"torch": 1}), "not text"),
        (lambda d: d["attributes"].update(model=["x"]), "model is not text"),
        (lambda d: d["attributes"].update(recipe=[]), "recipe is not a mapping"),
        (
            lambda d: arrays(d)["status"]["codecs"][0]["configuration"].update(chunk_shape=[10**12]),
            "not as its column says",
        ),
        (lambda d: arrays(d)["status"]["codecs"][0]["configuration"].update(chunk_shape=[0]), "not as its column says"),
        (
            lambda d: arrays(d)["status"]["chunk_grid"]["configuration"].update(chunk_shape=[10**12]),
            "not as its column",
        ),
        (lambda d: arrays(d)["status"].update(data_type="uint64"), "not as its column says"),
    ],
)
def test_a_header_that_declares_too_much_is_refused(toy, tmp_path, change, message):
    root = headers(toy, tmp_path, change)
    with pytest.raises((ValueError, UserError), match=message):
        parse(root)


def test_the_size_that_a_chunk_declares_is_looked_at_before_it_is_decoded(toy, tmp_path):
    toy.make(str(tmp_path / "R.zarr"))
    document = json.loads((tmp_path / "R.zarr" / ROOT).read_bytes())["consolidated_metadata"]["metadata"]["status"]
    values = toy.rows(0, 20)["status"]
    assert (decode(document, "c.0", encode(document, values), 0, 20) == values).all()
    bomb = bytes(Zstd(level=1).encode(np.zeros(GIB // 4, np.uint8)))
    unknown = bytes([*bomb[:4], 0, 0]) + bomb[-20:]  # no declared size
    for content in (bomb, unknown, b"nonsense", b"", bytes(Zstd().encode(values[:7]))):
        from google_crc32c import value as crc32c

        index = np.array([[0, len(content) + 4]], "<u8").tobytes()
        shard = content + crc32c(content).to_bytes(4, "little") + index + crc32c(index).to_bytes(4, "little")
        started = time.monotonic()
        with pytest.raises(ValueError, match=r"not the size of a chunk|not zstd"):
            decode(document, "c.0", shard, 0, 20)
        assert time.monotonic() - started < 1


BOMB = """
import sys, zlib
from screening.store.place import LocalPlace
from screening.store.records import Index, Records
from pathlib import Path
records = Records.at(LocalPlace(Path(sys.argv[1])), sys.argv[2])
print(list(records.problems()))
"""


def test_a_chunk_of_records_does_not_unpack_without_end(tmp_path):
    index = Index((1,), ("0" * 32,))
    pack = zlib.compressobj(1, wbits=31)
    bomb = b"".join([*(pack.compress(bytes(2**24)) for _ in range(128)), pack.flush()])  # 2 GiB in 9 MB
    place = LocalPlace(tmp_path)
    for key in (chunk_key(0), "status/manifest/records/index.json"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        place.write({key: bomb if key == chunk_key(0) else index.content})
    assert "damaged" in bounded(BOMB, tmp_path, index.digest)
    os.truncate(tmp_path / chunk_key(0), 0)
    (tmp_path / chunk_key(0)).unlink()
    os.mkfifo(tmp_path / chunk_key(0))
    assert "damaged" in bounded(BOMB, tmp_path, index.digest)


def test_records_that_an_index_lacks_are_named():
    records = Records(Index((2,), ("0" * 32,)), lambda _: b"", "R.zarr")
    for ask in (lambda: records.read(0, 3), lambda: list(records.pick([2]))):
        with pytest.raises(UserError, match="has 2 records, not 3"):
            ask()


@pytest.mark.parametrize("counts", [(-1,), (1.5,), (10**30,), (1, 2), ("1",), ()])
def test_an_index_of_odd_numbers_is_refused(tmp_path, counts):
    index = Index(counts, ("0" * 32,))
    place = LocalPlace(tmp_path)
    (tmp_path / "status" / "manifest").mkdir(parents=True)
    place.write({"status/manifest/records/index.json": index.content})
    with pytest.raises(UserError, match="is no index"):
        Records.at(place, index.digest)


def test_a_line_without_end_is_not_read(toy, tmp_path):
    url = str(tmp_path / "R.zarr")
    toy.make(url)
    with (tmp_path / "R.zarr" / log_key(0)).open("ab") as file:
        file.truncate(GIB)
    with pytest.raises(UserError, match="a line of more than"):
        StoredRun.open(url)
