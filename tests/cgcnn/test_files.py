"""Files appear whole or not at all, devices stay devices, and no cell runs in a spreadsheet."""

import csv
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cgcnn.errors import UserError
from cgcnn.files import csv_cell, printable, read_regular, write_csv, write_whole


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_old_content_stays_until_the_new_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def pieces() -> Iterator[str]:
        yield "ne"
        assert path.read_text() == "old"
        yield "w"

    write_whole(path, pieces())
    assert path.read_text() == "new"
    assert names_in(tmp_path) == {"out.txt"}


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt(), MemoryError()])
def test_what_fails_half_way_leaves_the_old_content_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def pieces() -> Iterator[str]:
        yield "new"
        raise error

    with pytest.raises(type(error)):
        write_whole(path, pieces())
    assert path.read_text() == "old"
    assert names_in(tmp_path) == {"out.txt"}


def test_the_temporary_file_cannot_be_foreseen_or_led_elsewhere(tmp_path: Path) -> None:
    names = set()

    def pieces() -> Iterator[str]:
        names.update(names_in(tmp_path) - {"out.txt.partial"})
        yield ""

    victim = tmp_path.parent / "victim"
    victim.write_text("safe")
    (tmp_path / "out.txt.partial").symlink_to(victim)
    for _ in range(3):
        write_whole(tmp_path / "out.txt", pieces())
        (tmp_path / "out.txt").unlink()
    assert victim.read_text() == "safe"
    assert len(names) == 3


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link, target = tmp_path / "link.txt", tmp_path / "folder" / "target.txt"
    link.symlink_to(Path("folder") / "target.txt")
    for content in ("first", "second"):  # at first, the link leads nowhere
        write_whole(link, content)
        assert link.is_symlink()
        assert target.read_text() == content


def test_permissions_of_a_file_stay(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.stat().st_mode & 0o777 == 0o640


def test_devices_and_fifos_are_written_into(tmp_path: Path) -> None:
    write_whole("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_whole(fifo, ["through ", b"it"])
    reader.join(10)
    assert got == [b"through it"]
    assert fifo.is_fifo()


@pytest.mark.slow
def test_standard_output_is_written_into_wherever_it_leads(tmp_path: Path) -> None:
    code = (
        "from cgcnn.files import write_whole; print('before', flush=True); "
        "write_whole('/dev/stdout', 'table\\n'); print('after')"
    )
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    with (tmp_path / "file").open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert piped == (tmp_path / "file").read_text() == "before\ntable\nafter\n"


@pytest.mark.parametrize("name", ["", "missing/out.txt", "x" * 300, "nul\0"])
def test_what_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        write_whole(tmp_path / name, "content")
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain, with comma", "plain, with comma"),
        (None, ""),
        (-1.5, "-1.5"),
        ("-1.5e-05", "-1.5e-05"),
        ("+3", "+3"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\\t=1"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("caf\udce9.cif", "caf\\xe9.cif"),
        ("\ud800", "\\ud800"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("Ångström", "Ångström"),
    ],
)
def test_cells_are_plain_text_for_terminals_and_spreadsheets(tmp_path: Path, value: object, cell: str) -> None:
    assert csv_cell(value) == cell
    write_csv(tmp_path / "out.csv", ["id", "number"], [[value, 1]])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["id", "number"], [cell, "1"]]
    assert printable(cell) == cell


def odd_files(folder: Path) -> Iterator[tuple[str, Path]]:
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        yield from ((name, folder / name) for name in ("fifo", "device", "socket"))


def test_only_regular_files_are_read_and_only_so_much_of_them(tmp_path: Path) -> None:
    for _, path in odd_files(tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(path)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    plain, link = tmp_path / "plain", tmp_path / "link"
    plain.write_bytes(b"12345")
    link.symlink_to(plain)
    assert read_regular(link, 5) == b"12345"
    for path in (plain, link):
        with pytest.raises(OSError, match="larger than 4 bytes"):
            read_regular(path, 4)
    with pytest.raises(OSError, match="larger than 1 bytes"):
        read_regular("/proc/self/status", 1)  # has no size before it is read
