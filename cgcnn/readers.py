"""Data sets in the formats that people have them in, as entries, in the order of the data."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data import Record, parse_lines
from cgcnn.entry import Entry, broken, from_record
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}
ID_PROP = "id_prop.csv"


def read(path: str | Path) -> list[Entry]:
    """Read a file, or a directory of files in the order of their names.

    A directory with an ``id_prop.csv`` is one of the published code: the ids and labels are those of the table, the
    crystals ``ID.cif`` beside it. A crystal that cannot be read is a broken entry; what is not a data set at all is an
    error.

    Raises:
        UserError: No such file, an unknown format, a damaged file of several crystals, or nothing in it.
    """
    place = Path(path)
    if place.is_dir():
        entries = _cgcnn_directory(place) if (place / ID_PROP).is_file() else _directory(place)
    elif place.exists():
        entries = _file(place)
    else:
        raise UserError(f"{place}: no such file or directory")
    if not entries:
        raise UserError(f"{place}: no records; expected crystals")
    return entries


def kind_of(path: Path) -> str | None:
    """The format of a file by its name: a key of the readers, or None."""
    name = path.name.lower()
    for suffix in _DECOMPRESS:
        name = name.removesuffix(suffix)
    if name in {"poscar", "contcar"} or name.startswith(("poscar", "contcar")):
        return "poscar"
    return _SUFFIXES.get(Path(name).suffix)


def _file(path: Path) -> list[Entry]:
    kind = kind_of(path)
    if kind is None:
        known = ", ".join(_SUFFIXES)
        raise UserError(f"{path}: unknown format; known are {known} (also .gz, .xz, .bz2), POSCAR and directories")
    try:
        return _READERS[kind](path)
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None


def _directory(folder: Path) -> list[Entry]:
    """Every file of a known format; one that cannot be read at all is a broken entry."""
    files = sorted(
        file for file in folder.iterdir() if file.is_file() and kind_of(file) and file.name != "atom_init.json"
    )
    if not files:
        raise UserError(f"{folder}: holds no file of a known format ({', '.join(_SUFFIXES)}, POSCAR)")
    entries: list[Entry] = []
    for file in files:
        try:
            entries += _file(file)
        except UserError as error:
            entries.append(broken(_stem(file), str(error)))
    return entries


def _cgcnn_directory(folder: Path) -> list[Entry]:
    """The rows of ``id_prop.csv``: an id and any number of labels; a first row that names no CIF is a header."""
    try:
        with (folder / ID_PROP).open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{folder / ID_PROP}: cannot be read ({error})") from None
    if not rows:
        return []
    names = ["id", "target", *(f"target_{i}" for i in range(2, max(map(len, rows))))]
    if len(rows) > 1 and not (folder / f"{rows[0][0]}.cif").exists() and not _is_number(rows[0][1:2]):
        names = ["id", *rows.pop(0)[1:]]
    return [_cgcnn_entry(folder, dict(zip(names, row, strict=False))) for row in rows]


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


def _bytes(path: Path) -> bytes:
    return _DECOMPRESS.get(path.suffix.lower(), bytes)(path.read_bytes())


def _text(path: Path) -> str:
    """Text of one crystal; authors' names in an old encoding are no reason to refuse it."""
    return _bytes(path).decode("utf-8", errors="replace")


def _cif(path: Path) -> list[Entry]:
    return [Entry(_stem(path), {"id": _stem(path)}, "cif", _text(path))]


def _poscar(path: Path) -> list[Entry]:
    return [Entry(_stem(path), {"id": _stem(path)}, "poscar", _text(path))]


def _json_lines(path: Path) -> list[Entry]:
    return _records(parse_lines(path, _bytes(path).decode("utf-8").split("\n")))


def _records(records: Iterable[Record]) -> list[Entry]:
    return [from_record(record, position) for position, record in enumerate(records)]


def _table(path: Path) -> list[Entry]:
    csv.field_size_limit(2**31 - 1)  # a CIF is longer than the default
    try:
        reader = csv.DictReader(io.StringIO(_bytes(path).decode("utf-8-sig"), newline=""), restkey="")
        return _records(reader)
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV table ({error})") from None


def _json(path: Path) -> list[Entry]:
    """Matbench's table, one pymatgen structure, a list of structures or records, or names with structures."""
    try:
        content = json.loads(_bytes(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return _matbench(path, content)
    if isinstance(content, dict) and "sites" in content:
        return [Entry(_stem(path), {"id": _stem(path)}, "pymatgen", json.dumps(content))]
    named = list(content.items()) if isinstance(content, dict) else [(None, item) for item in _as_list(content)]
    if not all(isinstance(item, dict) for _, item in named):
        raise UserError(f"{path}: neither structures nor records; expected pymatgen's JSON, Matbench's, or records")
    return [_json_item(item, name, i) for i, (name, item) in enumerate(named)]


def _as_list(content: object) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _json_item(item: Record, name: str | None, position: int) -> Entry:
    record = {"structure": item} if "sites" in item else item
    return from_record(record if name is None else {"id": name, **record}, position)


def _matbench(path: Path, content: dict[str, Any]) -> list[Entry]:
    columns, rows = content["columns"], content["data"]
    index = content.get("index", range(len(rows)))
    try:
        records = [{"id": str(i), **dict(zip(columns, row, strict=True))} for i, row in zip(index, rows, strict=True)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of Matbench ({error})") from None
    return _records(records)


def _ase(path: Path) -> list[Entry]:
    """Extended XYZ or a database of ASE, read with ASE."""
    try:
        from ase.db import connect  # noqa: PLC0415  # an extra
        from ase.io import iread  # noqa: PLC0415
    except ImportError:
        raise UserError(f"{path}: reading it needs ASE: pip install 'perovskite-screening[ase]'") from None
    try:
        if kind_of(path) == "db":
            rows = list(connect(path).select())  # type: ignore[no-untyped-call]
            found = [(row.toatoms(), {"id": str(row.id), **row.key_value_pairs}) for row in rows]
        else:
            found = [(atoms, dict(atoms.info)) for atoms in iread(path, index=":", format="extxyz")]
    except Exception as error:  # noqa: BLE001  # ASE's readers document no set of errors
        raise UserError(f"{path}: not readable by ASE ({str(error) or type(error).__name__})") from None
    single = len(found) == 1 and kind_of(path) != "db"
    return [
        _ase_entry(atoms, {"id": _stem(path) if single else f"{_stem(path)}-{i}", **labels})
        for i, (atoms, labels) in enumerate(found)
    ]


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
_READERS: dict[str, Callable[[Path], list[Entry]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "jsonl": _json_lines,
    "json": _json,
    "csv": _table,
    "xyz": _ase,
    "db": _ase,
}
