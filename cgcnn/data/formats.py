"""The formats that people have crystals in: from a file to its samples, one reader a format.

A sample that cannot be read, among others of its file, is a broken one; a file that is none of its format is an error.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain, count, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data.bounds import ATOMS
from cgcnn.data.opening import lines_of, opened, read_bytes, read_text, uncompressed_name
from cgcnn.data.records import parse_lines
from cgcnn.data.sample import Sample, broken, from_record
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cgcnn.data.records import Record
    from cgcnn.data.sample import Form

ID_PROP = "id_prop.csv"
SUFFIXES = {
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


def kind_of(path: Path) -> str | None:
    """The format of a file by its name: a key of the readers, or None."""
    name = uncompressed_name(path).lower()
    if name.startswith(("poscar", "contcar")):
        return "poscar"
    return SUFFIXES.get(Path(name).suffix)


@dataclass(frozen=True)
class Source:
    """A file to be read.

    Attributes:
        path: Where it is.
        name: The id of its crystal, where that has none.
        prefix: What comes before the positions of its records that have no id.
    """

    path: Path
    name: str
    prefix: str = ""


def read_file(source: Source) -> Iterator[Sample]:
    """The samples of a file.

    Raises:
        UserError: The file cannot be read, or not to its end; whatever is wrong with it.
    """
    path = source.path
    try:
        for sample in _READERS[kind_of(path) or ""](source):
            yield replace(sample, path=str(path))
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{path}: cannot be read (not enough memory)") from None
    except RecursionError:
        raise UserError(f"{path}: cannot be read (nested too deeply)") from None
    except Exception as error:  # noqa: BLE001  # whatever is wrong with one file must not stop the others
        raise UserError(f"{path}: cannot be read ({str(error) or type(error).__name__})") from None


def read_published(folder: Path) -> Iterator[Sample]:
    """The rows of ``id_prop.csv``: an id and any number of labels; a first row that names no CIF is a header.

    Raises:
        UserError: The table cannot be read.
    """
    try:
        with (folder / ID_PROP).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, csv.Error) as error:
        raise UserError(f"{folder / ID_PROP}: cannot be read ({error})") from None
    if not rows:
        return
    names = ["id", "target", *(f"target_{i}" for i in range(2, max(map(len, rows))))]
    if len(rows) > 1 and not (folder / f"{rows[0][0]}.cif").exists() and not _is_number(rows[0][1:2]):
        names = ["id", *rows.pop(0)[1:]]
    for row in rows:
        yield _published_sample(folder, dict(zip(names, row, strict=False)))


def _is_number(cells: list[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False


def _published_sample(folder: Path, labels: Record) -> Sample:
    name, path = labels["id"], folder / f"{labels['id']}.cif"
    try:
        reason = f"{path}: no regular file" if path.exists() and not path.is_file() else ""
        form: Form = "broken" if reason else "cif"
        return Sample(name, labels, form, reason or read_text(path), str(path))
    except UserError as error:
        return Sample(name, labels, "broken", str(error), str(path))
    except Exception as error:  # noqa: BLE001  # a name with a NUL, a damaged file, too little memory
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        return Sample(name, labels, "broken", f"{path}: cannot be read ({reason})", str(path))


def _cif(source: Source) -> Iterator[Sample]:
    from cgcnn.data.cif_blocks import crystals

    texts = crystals(read_text(source.path))
    for i, text in enumerate(texts, 1):
        name = source.name if len(texts) == 1 else f"{source.name}-{i}"
        yield Sample(name, {"id": name}, "cif", text)


def _poscar(source: Source) -> Iterator[Sample]:
    yield Sample(source.name, {"id": source.name}, "poscar", read_text(source.path))


def _json_lines(source: Source) -> Iterator[Sample]:
    with opened(source.path, errors="surrogateescape") as stream:
        yield from _records(parse_lines(source.path, lines_of(stream, source.path)), source)


def _table(source: Source) -> Iterator[Sample]:
    csv.field_size_limit(2**31 - 1)  # a CIF is longer than the default; lines are bounded
    try:
        with opened(source.path, errors="surrogateescape", encoding="utf-8-sig") as stream:
            yield from _records(csv.DictReader(lines_of(stream, source.path), restkey=""), source)
    except csv.Error as error:
        raise UserError(f"{source.path}: not a CSV table ({error})") from None


def _records(records: Iterable[Record], source: Source) -> Iterator[Sample]:
    """The samples of records; those without an id are named by their positions."""
    for position, record in enumerate(records):
        yield _sample_or_broken(f"{source.prefix}{position}", from_record, record)


def _sample_or_broken(name: str, make: Callable[[Any, str], Sample], found: object) -> Sample:
    try:
        return make(found, name)
    except Exception as error:  # noqa: BLE001  # mistyped data fail anywhere, and concern one sample
        return broken(name, f"not a crystal ({' '.join(str(error).split()) or type(error).__name__})")


def _json(source: Source) -> Iterator[Sample]:
    """Matbench's table, one pymatgen structure, a list of structures or records, or names with structures."""
    path = source.path
    content = _json_content(path)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return _records(_matbench(path, content), source)
    if isinstance(content, dict) and "sites" in content:
        return iter([Sample(source.name, {"id": source.name}, "pymatgen", json.dumps(content))])
    if isinstance(content, dict):
        named: list[Any] = [{"id": key, **_as_record(item)} for key, item in content.items() if _is_record(item)]
        whole = len(named) == len(content)
    else:
        named = [_as_record(item) for item in (content if isinstance(content, list) else [content])]
        whole = all(map(_is_record, named))
    if not whole:
        raise UserError(f"{path}: neither structures nor records; expected pymatgen's JSON, Matbench's, or records")
    return _records(named, source)


def _json_content(path: Path) -> Any:
    content = read_bytes(path)
    try:
        return json.loads(content.decode(json.detect_encoding(content), errors="surrogateescape"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def _is_record(item: object) -> bool:
    return isinstance(item, dict)


def _as_record(item: Any) -> Any:
    return {"structure": item} if isinstance(item, dict) and "sites" in item else item


def _matbench(path: Path, content: dict[str, Any]) -> list[Record]:
    columns, rows = content["columns"], content["data"]
    try:
        index = content.get("index", range(len(rows)))
        return [{"id": str(i), **dict(zip(columns, row, strict=True))} for i, row in zip(index, rows, strict=True)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a table of Matbench ({error})") from None


def _xyz(source: Source) -> Iterator[Sample]:
    """Extended XYZ; of several frames, each has a number."""
    _need_ase(source.path)
    with opened(source.path, errors="surrogateescape") as stream:
        frames = _frames(source.path, lines_of(stream, source.path))
        first = list(islice(frames, 2))
        names = repeat(source.name) if len(first) == 1 else (f"{source.name}-{i}" for i in count())
        for frame, name in zip(chain(first, frames), names, strict=False):
            yield _sample_or_broken(name, _frame_sample, frame)


def _frames(path: Path, lines: Iterator[str]) -> Iterator[str]:
    """The text of each frame: a count of atoms, a comment, and so many lines.

    Raises:
        UserError: A count is none, or there are not so many lines.
    """
    for number, line in enumerate(filter(str.strip, lines)):
        atoms = int(line) if line.strip().isdecimal() and len(line) < 20 else -1
        if not 0 <= atoms <= ATOMS:
            raise UserError(f"{path}: frame {number} has {line.strip()[:20]!r} atoms; 0 to {ATOMS:,} are read")
        body = [text for _, text in zip(range(atoms + 1), lines, strict=False)]
        if len(body) <= atoms:
            raise UserError(f"{path}: frame {number} has {atoms} atoms, the file ends before the last")
        yield "".join([line, *body])


def _frame_sample(text: str, name: str) -> Sample:
    from ase.io import read

    atoms: Any = read(StringIO(text), format="extxyz")
    return _ase_sample(atoms, {"id": name, **atoms.info})


def _database(source: Source) -> Iterator[Sample]:
    """The rows of a database of ASE, named by their numbers."""
    path = source.path
    _need_ase(path)
    from ase.db import connect

    try:
        for row in connect(path).select():
            yield _sample_or_broken(f"{source.prefix}{row.id}", _row_sample, row)
    except Exception as error:  # noqa: BLE001  # ASE's readers document no set of errors
        raise UserError(f"{path}: not readable by ASE ({str(error) or type(error).__name__})") from None


def _row_sample(row: Any, name: str) -> Sample:
    return _ase_sample(row.toatoms(), {"id": name, **row.key_value_pairs})


def _need_ase(path: Path) -> None:
    try:
        import ase.db  # noqa: F401  # an extra
    except ImportError:
        raise UserError(f"{path}: reading it needs ASE: pip install 'perovskite-screening[ase]'") from None


def _ase_sample(atoms: Any, labels: Record) -> Sample:
    if not atoms.pbc.all():
        return broken(str(labels["id"]), "not a crystal (not periodic in three directions); expected a cell and pbc")
    if atoms.calc is not None:
        labels = {**atoms.calc.results, **labels}
    cell, frac = atoms.cell.cellpar().tolist(), atoms.get_scaled_positions(wrap=False).tolist()
    crystal = {"cell": cell, "species": list(atoms.symbols), "frac": frac}
    return Sample(str(labels["id"]), labels, "record", json.dumps(crystal))


_READERS: dict[str, Callable[[Source], Iterator[Sample]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "jsonl": _json_lines,
    "json": _json,
    "csv": _table,
    "xyz": _xyz,
    "db": _database,
}
