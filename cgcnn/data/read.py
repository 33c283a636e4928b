"""Data sets in the formats that people have them in, as entries, in the order of the data."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import zlib
from itertools import chain, count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from cgcnn.data.records import Record, parse_lines
from cgcnn.data.sample import Entry, broken, from_record
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}
_OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
ID_PROP = "id_prop.csv"


def read(path: str | Path) -> list[Entry]:
    """Read a file, or a directory of files in the order of their names.

    A directory with an ``id_prop.csv`` is one of the published code: the ids and labels are those of the table, the
    crystals ``ID.cif`` beside it. A crystal that cannot be read is a broken entry; what is not a data set at all is an
    error.

    Raises:
        UserError: No such file, an unknown format, a damaged file of several crystals, or nothing in it.
    """
    return list(stream([Path(path)]))


def stream(paths: Sequence[Path]) -> Iterator[Entry]:
    """As `read`, of one or more files and directories one after the other, entry by entry as they are wanted.

    Among several, a file that cannot be read at all is a broken entry too.

    Raises:
        UserError: As `read`; of a path that does not exist or has no known format, before anything is read.
    """
    for path in paths:
        _check(path)
    for path in paths:
        empty = True
        for entry in _whole(path) if len(paths) == 1 or path.is_dir() else _tolerant(path):
            empty = False
            yield entry
        if empty:
            raise UserError(f"{path}: no records; expected crystals")


def _check(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    if path.is_file() and kind_of(path) is None:
        known = ", ".join(_SUFFIXES)
        raise UserError(f"{path}: unknown format; known are {known} (also .gz, .xz, .bz2), POSCAR and directories")


def _whole(path: Path) -> Iterator[Entry]:
    if not path.is_dir():
        return _file(path)
    return _cgcnn_directory(path) if (path / ID_PROP).is_file() else _directory(path)


def kind_of(path: Path) -> str | None:
    """The format of a file by its name: a key of the readers, or None."""
    name = path.name.lower()
    for suffix in _DECOMPRESS:
        name = name.removesuffix(suffix)
    if name in {"poscar", "contcar"} or name.startswith(("poscar", "contcar")):
        return "poscar"
    return _SUFFIXES.get(Path(name).suffix)


def _file(path: Path) -> Iterator[Entry]:
    try:
        yield from _READERS[kind_of(path) or ""](path)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _tolerant(path: Path) -> Iterator[Entry]:
    """What a file holds; where it cannot be read, or not to its end, a broken entry."""
    try:
        yield from _file(path)
    except UserError as error:
        yield broken(_stem(path), str(error))


def _directory(folder: Path) -> Iterator[Entry]:
    """Every file of a known format."""
    files = sorted(
        file for file in folder.iterdir() if file.is_file() and kind_of(file) and file.name != "atom_init.json"
    )
    if not files:
        raise UserError(f"{folder}: holds no file of a known format ({', '.join(_SUFFIXES)}, POSCAR)")
    for file in files:
        yield from _tolerant(file)


def _cgcnn_directory(folder: Path) -> Iterator[Entry]:
    """The rows of ``id_prop.csv``: an id and any number of labels; a first row that names no CIF is a header."""
    try:
        with (folder / ID_PROP).open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / ID_PROP}: cannot be read ({error})") from None
    if not rows:
        return
    names = ["id", "target", *(f"target_{i}" for i in range(2, max(map(len, rows))))]
    if len(rows) > 1 and not (folder / f"{rows[0][0]}.cif").exists() and not _is_number(rows[0][1:2]):
        names = ["id", *rows.pop(0)[1:]]
    for row in rows:
        yield _cgcnn_entry(folder, dict(zip(names, row, strict=False)))


def _is_number(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _cgcnn_entry(folder: Path, labels: Record) -> Entry:
    path = folder / f"{labels['id']}.cif"
    try:
        return Entry(labels["id"], labels, "cif", _text(path))
    except OSError as error:
        return Entry(labels["id"], labels, "broken", f"{path}: cannot be read ({error.strerror})")


def _stem(path: Path) -> str:
    name = path.name
    for suffix in _DECOMPRESS:
        name = name.removesuffix(suffix)
    return Path(name).stem


def _opened(path: Path, encoding: str, newline: str) -> TextIO:
    return cast("TextIO", _OPEN.get(path.suffix.lower(), open)(path, "rt", encoding=encoding, newline=newline))


def _bytes(path: Path) -> bytes:
    return _DECOMPRESS.get(path.suffix.lower(), bytes)(path.read_bytes())


def _text(path: Path) -> str:
    """Text of one crystal; authors' names in an old encoding are no reason to refuse it."""
    return _bytes(path).decode("utf-8", errors="replace")


def _cif(path: Path) -> Iterator[Entry]:
    yield Entry(_stem(path), {"id": _stem(path)}, "cif", _text(path))


def _poscar(path: Path) -> Iterator[Entry]:
    yield Entry(_stem(path), {"id": _stem(path)}, "poscar", _text(path))


def _json_lines(path: Path) -> Iterator[Entry]:
    with _opened(path, "utf-8", newline="\n") as lines:
        yield from _records(parse_lines(path, lines))


def _records(records: Iterable[Record]) -> Iterator[Entry]:
    return (from_record(record, position) for position, record in enumerate(records))


def _table(path: Path) -> Iterator[Entry]:
    csv.field_size_limit(2**31 - 1)  # a CIF is longer than the default
    try:
        with _opened(path, "utf-8-sig", newline="") as lines:
            yield from _records(csv.DictReader(lines, restkey=""))
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV table ({error})") from None


def _json(path: Path) -> Iterator[Entry]:
    """Matbench's table, one pymatgen structure, a list of structures or records, or names with structures."""
    try:
        content = json.loads(_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return _matbench(path, content)
    if isinstance(content, dict) and "sites" in content:
        return iter([Entry(_stem(path), {"id": _stem(path)}, "pymatgen", json.dumps(content))])
    named = list(content.items()) if isinstance(content, dict) else [(None, item) for item in _as_list(content)]
    if not all(isinstance(item, dict) for _, item in named):
        raise UserError(f"{path}: neither structures nor records; expected pymatgen's JSON, Matbench's, or records")
    return (_json_item(item, name, i) for i, (name, item) in enumerate(named))


def _as_list(content: object) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _json_item(item: Record, name: str | None, position: int) -> Entry:
    record = {"structure": item} if "sites" in item else item
    return from_record(record if name is None else {"id": name, **record}, position)


def _matbench(path: Path, content: dict[str, Any]) -> Iterator[Entry]:
    columns, rows = content["columns"], content["data"]
    index = content.get("index", range(len(rows)))
    try:
        records = [{"id": str(i), **dict(zip(columns, row, strict=True))} for i, row in zip(index, rows, strict=True)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of Matbench ({error})") from None
    return _records(records)


def _ase(path: Path) -> Iterator[Entry]:
    """Extended XYZ or a database of ASE, read with ASE."""
    try:
        import ase.db  # noqa: F401, PLC0415  # an extra
    except ImportError:
        raise UserError(f"{path}: reading it needs ASE: pip install 'perovskite-screening[ase]'") from None
    database = kind_of(path) == "db"
    found = _frames(path, database=database)
    first, second = next(found, None), next(found, None)
    names = repeat(_stem(path)) if second is None and not database else (f"{_stem(path)}-{i}" for i in count())
    for (atoms, labels), name in zip(chain(filter(None, (first, second)), found), names, strict=False):
        yield _ase_entry(atoms, {"id": name, **labels})


def _frames(path: Path, *, database: bool) -> Iterator[tuple[Any, Record]]:
    """Atoms and labels of each frame or row."""
    from ase.db import connect  # noqa: PLC0415
    from ase.io import iread  # noqa: PLC0415

    try:
        if database:
            for row in connect(path).select():  # type: ignore[no-untyped-call]
                yield row.toatoms(), {"id": str(row.id), **row.key_value_pairs}
        else:
            for atoms in iread(path, index=":", format="extxyz"):
                yield atoms, dict(atoms.info)
    except Exception as error:  # noqa: BLE001  # ASE's readers document no set of errors
        raise UserError(f"{path}: not readable by ASE ({str(error) or type(error).__name__})") from None


def _ase_entry(atoms: Any, labels: Record) -> Entry:  # noqa: ANN401  # ASE has no types
    if not atoms.pbc.all():
        return broken(str(labels["id"]), "not a crystal (not periodic in three directions); expected a cell and pbc")
    if atoms.calc is not None:
        labels = {**atoms.calc.results, **labels}
    cell, frac = atoms.cell.cellpar().tolist(), atoms.get_scaled_positions(wrap=False).tolist()
    crystal = {"cell": cell, "species": list(atoms.symbols), "frac": frac}
    return Entry(str(labels["id"]), labels, "record", json.dumps(crystal))


_SUFFIXES = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".jsonl": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".db": "db",
}
_READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "jsonl": _json_lines,
    "json": _json,
    "csv": _table,
    "xyz": _ase,
    "db": _ase,
}
