import gzip
import lzma
from pathlib import Path

import pytest

from cgcnn.data import samples as data
from cgcnn.data.samples import record_id
from cgcnn.errors import UserError

RECORD = {
    "id": "one",
    "A": "Ba",
    "B": "Ti",
    "X": ["N", "O", "O"],
    "cell": [4.0, 4.0, 4.2, 90.0, 90.0, 90.0],
    "species": ["Ba", "Ti", "N", "O", "O"],
    "frac": [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    "energy": 1.5,
}


@pytest.mark.parametrize(("suffix", "opener"), [(".jsonl", open), (".jsonl.xz", lzma.open), (".jsonl.gz", gzip.open)])
def test_records_are_read_in_order(tmp_path: Path, suffix: str, opener: object) -> None:
    path = tmp_path / f"data{suffix}"
    with opener(path, "wt") as file:  # type: ignore[operator]
        file.write('{"id": "b"}\n\n{"id": "a"}\n')
    assert [record["id"] for record in data.read_records(path)] == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"{}\n{oops", "line 2: not JSON"),
        ("a.jsonl", b"[1]\n", "a list, expected a JSON object"),
        ("a.jsonl", b"\n", "no records"),
        ("a.jsonl", b"\xff\xfe", "line 1: not JSON"),
        ("a.jsonl.xz", b"plain", "cannot be read"),
        ("a.jsonl.xz", lzma.compress(b'{"a": 1}\n' * 1000)[:40], "cannot be read"),
        ("a.jsonl.gz", b"plain", "cannot be read"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        data.read_records(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.jsonl"):
        data.read_records(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"id": 0}, "0"),
        ({"id": "x", "material_id": "mp-1"}, "x"),
        ({"id": "", "material_id": "mp-1"}, "mp-1"),
        ({}, "7"),
    ],
)
def test_records_are_named_by_id_or_position(record: data.Record, name: str) -> None:
    assert record_id(record, 7) == name
