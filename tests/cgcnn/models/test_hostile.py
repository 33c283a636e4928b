"""Checkpoints, models and cards that somebody made to do harm: refused in one line, without the memory they declare."""

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.card import read_card
from cgcnn.models.files import load, read_domain, save
from cgcnn.models.published import read_atom_init, read_checkpoint
from cgcnn.testing import untrained

ROOT = Path(__file__).parents[3]
MEMORY = 3 * 2**30  # of address space; torch alone takes more than one
IMPORT = """
import resource, sys
from cgcnn.errors import UserError
from cgcnn.models.published import import_model, read_atom_init, read_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    import_model(read_checkpoint(sys.argv[1]), read_atom_init(sys.argv[2]), "x")
    print("read")
except UserError as error:
    print("refused:", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def imported(folder: Path, checkpoint: Path, atom_init: Path | None = None) -> tuple[str, int]:
    """What an import says, and how many MiB it takes beyond what its imports take."""
    if atom_init is None:
        atom_init = folder / "atom_init.json"
        atom_init.write_text(json.dumps({str(z): [0, 1] for z in range(1, 101)}))
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, checkpoint, atom_init],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said, mebibytes = done.stdout.splitlines()
    return said, int(mebibytes)


def content(**tensors: torch.Tensor) -> dict[str, Any]:
    normalizer = {"mean": torch.tensor(0.0), "std": torch.tensor(1.0)}
    return {"state_dict": tensors, "normalizer": normalizer, "args": {"task": "regression"}, "best_mae_error": 1.0}


def saved(*, zipped: bool = True, **tensors: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(content(**tensors), stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def repacked(data: bytes, change: Callable[[str, bytes], bytes] = lambda _, content: content, **how: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", **how) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return stream.getvalue()


def zeros() -> bytes:
    """A zip of compressed zeros."""
    data = saved(w=torch.zeros(8))
    big = {"archive/data/0": bytes(2**31)}
    return repacked(data, big.get, compression=zipfile.ZIP_DEFLATED)


def declaring(size: int) -> bytes:
    """A checkpoint whose storage says that it has so many numbers."""
    return repacked(
        saved(w=torch.zeros(200)),
        lambda name, found: found.replace(b"K\xc8", b"J" + struct.pack("<i", size)) if name.endswith("pkl") else found,
    )


def old(size: int) -> bytes:
    """The same in the older format."""
    return saved(w=torch.zeros(200), zipped=False).replace(b"K\xc8", b"J" + struct.pack("<i", size))


def calling(module: str, name: str, *arguments: object) -> bytes:
    """A checkpoint whose pickle calls a function."""

    class Call:
        def __reduce__(self) -> Any:
            return getattr(sys.modules[module], name), arguments

    called = pickle.dumps({"args": Call()}, protocol=2)
    return repacked(saved(), lambda entry, found: called if entry.endswith("pkl") else found)


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def pickled(value: bytes) -> bytes:
    """A checkpoint that also holds a value, written by hand."""
    number = text("mean") + b"K\x00" + text("std") + b"K\x01"
    start = b"\x80\x02}(" + text("state_dict") + b"}" + text("normalizer") + b"}(" + number + b"u" + text("args") + b"}"
    whole = start + text("x") + value + b"u."
    return repacked(saved(), lambda entry, found: whole if entry.endswith("pkl") else found)


def doubling(codec: str) -> bytes:
    """A text that is encoded again and again, and is twice as long each time."""
    times = 18
    start = b"c_codecs\nencode\nq\x01" + b"h\x01" * times + text("x" * 9_000) + text("latin1") + b"\x86R"
    return pickled(start + (text(codec) + b"\x86R") * times)


def copying() -> bytes:
    """A list of many numbers, of which many copies are made."""
    numbers = b"](" + b"K\x01" * 500_000 + b"eq\x01"
    return pickled(b"](" + numbers + b"ctorch\nSize\nq\x02h\x01\x85R" + b"h\x02h\x01\x85R" * 1_000 + b"e")


def overlapping() -> bytes:
    """Many tensors over one storage."""
    storage = torch.zeros(100_000, dtype=torch.float64)
    return saved(**{f"t{i}": storage[:] for i in range(5_000)})


CASES: dict[str, Callable[[], bytes]] = {
    "expanded": lambda: saved(w=torch.zeros(1, dtype=torch.float64).expand(30_000, 30_000)),
    "expanded, older format": lambda: saved(w=torch.zeros(1).expand(30_000, 30_000), zipped=False),
    "overlapping": overlapping,
    "zip of zeros": zeros,
    "declared": lambda: declaring(2**31 - 1),
    "declared, older format": lambda: old(2**31 - 1),
    "bytearray": lambda: calling("builtins", "bytearray", 2**33),
    "tensor": lambda: calling("torch", "FloatTensor", 2**31),
    "a text that doubles": lambda: doubling("hex"),
    "a text that doubles, spelled otherwise": lambda: doubling("-Hex--codec-"),
    "copies": copying,
    "sparse": lambda: saved(w=torch.zeros(3, 3).to_sparse()),
    "a network of 40 GB": lambda: saved(
        **{"embedding.weight": torch.zeros(4_000, 2), "embedding.bias": torch.zeros(4_000)},
        **{"conv_to_fc.weight": torch.zeros(8_000, 1), "convs.0.fc_full.weight": torch.zeros(1, 8_041)},
        **{f"convs.{i}.fc_full.weight": torch.zeros(1, 1) for i in range(1, 90)},
    ),
    "a text without end": lambda: repacked(saved(), lambda n, c: b"\x80\x02X\xff\xff\xff\x7fx." if n[-1] == "l" else c),
    "a pickle of lists": lambda: repacked(saved(), lambda n, c: b"]" * 50_000_000 if n.endswith("pkl") else c),
    "many files": lambda: saved() + b"PK\x01\x02" * 3_000_000,
}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_takes_no_more_memory_than_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pth.tar"
    path.write_bytes(CASES[name]())
    said, mebibytes = imported(tmp_path, path)
    assert said.startswith(f"refused: {path}: "), said
    assert mebibytes < 400 + 4 * path.stat().st_size // 2**20


def test_a_checkpoint_reserves_no_storage_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.pth.tar"
    path.write_bytes(calling("torch", "UntypedStorage", 2**20))
    with pytest.raises(UserError, match=r"it needs torch\.storage UntypedStorage"):
        read_checkpoint(path)


@pytest.mark.parametrize("option", ["hex", "zip", "latin1"])
def test_options_named_as_codecs_are_no_harm_where_nothing_is_encoded(tmp_path: Path, option: str) -> None:
    path = tmp_path / "model.pth.tar"
    torch.save({**content(w=torch.zeros(2)), "args": {"task": option}}, path)
    assert read_checkpoint(path).arguments == {"task": option}


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "huge"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    sound = save(untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}), tmp_path / "sound")
    path = tmp_path / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    for read in (read_checkpoint, read_atom_init):
        with pytest.raises(UserError, match=r"not a regular file|directory|larger than"):
            read(path)
    card = sound.with_suffix(".json")
    card.unlink()
    card.symlink_to(path)
    for read in (read_card, load):
        with pytest.raises(UserError, match=r"not a regular file|directory|larger than"):
            read(sound)


@pytest.mark.parametrize("reader", [load, read_domain])
@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x02", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 90_000_000) + bytes(100),
        struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 69) + b'{"domain.a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}} ' + bytes(4),
        struct.pack("<Q", 62) + b'{"domain.a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}' + bytes(4),
    ],
)  # fmt: skip
def test_weights_that_declare_too_much_are_refused(tmp_path: Path, reader: Callable[[Path], Any], data: bytes) -> None:
    path = save(untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}), tmp_path / "odd")
    path.write_bytes(data)
    with pytest.raises(UserError, match="not a model file") as refused:
        reader(path)
    assert "\n" not in str(refused.value)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match="larger than"):
        reader(path)


def test_a_card_without_end_is_refused(tmp_path: Path) -> None:
    path = save(untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}), tmp_path / "odd")
    with path.with_suffix(".json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"not a model card \(larger than"):
        read_card(path)
    path.with_suffix(".json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not a model card"):
        read_card(path)


def test_element_vectors_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "atom_init.json"
    for text in (json.dumps({"1": [0] * 20_000}), "[" * 100_000, json.dumps({"9" * 5_000: [1]}), "{}", "[]"):
        path.write_text(text)
        with pytest.raises(UserError, match="not element vectors"):
            read_atom_init(path)


def test_the_options_of_a_checkpoint_that_are_no_options_are_left_out(tmp_path: Path) -> None:
    nested: list[Any] = ["x"]
    for _ in range(40):
        nested = [nested, nested]  # as text, 2^40 characters
    path = tmp_path / "model.pth.tar"
    torch.save({**content(), "args": {"data_options": nested, "task": "regression", "seed": {}}}, path)
    assert read_checkpoint(path).arguments == {"task": "regression"}
    assert read_checkpoint(path).target == "target"


def test_numbers_as_numpy_pickles_them_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pth.tar"
    for number in (np.float64(0.25), np.float32(0.25)):
        for zipped in (True, False):
            best = {**content(), "best_mae_error": number}
            torch.save(best, path, _use_new_zipfile_serialization=zipped)
            assert read_checkpoint(path).best == 0.25
