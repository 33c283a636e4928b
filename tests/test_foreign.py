"""What others made: no input is waited for, and no text of theirs reaches a terminal as anything but text."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cgcnn.training.recipe
import screening.recipe
from cgcnn.data.read import read
from cgcnn.data.tables import open_table
from cgcnn.errors import UserError
from screening.chemistry.entries import read_entries
from screening.cluster import choose, preflight
from screening.results.known import read_known


def odd_files(folder: Path) -> Iterator[Path]:
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        yield from (folder / name for name in ("fifo", "device", "socket"))


READERS: dict[str, Callable[[Path], Any]] = {
    "recipe of a screen": screening.recipe.read_recipe,
    "recipe of a training": cgcnn.training.recipe.read_recipe,
    "profile": lambda path: preflight(choose(str(path), None)),
    "list": open_table,
    "structures": lambda path: list(read(path)),
    "known": read_known,
    "entries": lambda path: read_entries([path]),
}


@pytest.mark.parametrize("what", READERS)
def test_no_input_is_waited_for(tmp_path: Path, what: str) -> None:
    for path in odd_files(tmp_path):
        for suffix in (".toml", ".csv", ".json", ".cif"):
            odd = path.rename(path.with_suffix(suffix))
            with pytest.raises(UserError) as refused:
                READERS[what](odd)
            assert str(odd) in str(refused.value)
            odd.rename(path)
