"""Read the samples of a file, with one reader for each format.

A crystal that cannot be read becomes a broken sample; a file that is not of its format is an error.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from io import StringIO
from itertools import chain, count, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data.composition import site_columns
from cgcnn.data.limits import ATOMS, lines_of, opened, read_bytes, read_text, uncompressed_name
from cgcnn.data.samples import Sample, broken, from_record, is_structure, parse_lines
from cgcnn.data.tables import open_table
from cgcnn.elements import MISSING
from cgcnn.errors import UserError
from cgcnn.files import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cgcnn.data.samples import Record
    from cgcnn.data.tables import Row, TextTable

ID_PROP = "id_prop.csv"
SUFFIXES = {
    ".cif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".jsonl": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".xlsx": "csv",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".db": "db",
}


_ID_NAMES = re.compile(
    r"(?:(?:material|mp|cif|structure|task)[ _-]?)?ids?|name|file(?:[ _-]?name)?|cif|structure", re.IGNORECASE
)
"""Names of columns of ids and files."""


def kind_of(path: Path) -> str | None:
    """Return the format of a file by its name: a key of the readers, or None."""
    name = uncompressed_name(path).lower()
    if name.startswith(("poscar", "contcar")):
        return "poscar"
    return SUFFIXES.get(Path(name).suffix)


@dataclass(frozen=True)
class InputFile:
    """A file to read.

    Attributes:
        path: Where it is.
        name: Id of its crystal, if that has none.
        prefix: Text before the positions of its records that have no id.
    """

    path: Path
    name: str
    prefix: str = ""


def read_file(source: InputFile) -> Iterator[Sample]:
    """Read the samples of a file.

    Raises:
        UserError: The file cannot be read to its end, for whatever reason.
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
    except Exception as error:  # noqa: BLE001  # one bad file must not stop the others
        raise UserError(f"{path}: cannot be read ({str(error) or type(error).__name__})") from None


def read_published(folder: Path) -> Iterator[Sample]:
    """Read the rows of ``id_prop.csv``: an id and any number of labels; the first row may be a header.

    An id is the name of a file beside the table, with or without its suffix: ``x`` is ``x.cif``, or else ``x.CIF``,
    ``x.cif.gz``, ``x.vasp`` and so on, if there is only one.

    Raises:
        UserError: The table cannot be read, or its separator is not clear.
    """
    path = folder / ID_PROP
    table = open_table(path, header=False)
    rows = list(table.rows)
    files = _Files(folder)
    if rows and _is_header(rows, files):
        table = open_table(path)
        rows, names = list(table.rows), ["id", *table.header[1:]]
    elif rows:
        names = ["id", "target", *(f"target_{i}" for i in range(2, len(rows[0].cells)))][: len(rows[0].cells)]
        _refuse_other_separators(table, rows)
    for row in rows:
        yield _published_sample(files, table, row, names)


def _is_header(rows: Sequence[Row], files: _Files) -> bool:
    """Return whether the first row is a header: it names no file, and has words where other rows have numbers.

    A name with digits, such as mp-12, more likely belongs to a crystal whose file is missing.
    """
    name, *labels = rows[0].cells
    if files.find(name)[0] or len(rows) < 2:
        return False
    if _ID_NAMES.fullmatch(name):
        return True
    words = all(label and not _is_number(label) and label.casefold() not in MISSING for label in labels)
    return bool(labels) and words and not any(map(str.isdigit, name))


def _refuse_other_separators(table: TextTable, rows: Sequence[Row]) -> None:
    """Refuse rows without a header whose one cell holds id and label, or whose labels are cut at decimal commas.

    Raises:
        UserError: There are such rows.
    """
    if len(rows[0].cells) == 1 and all(re.fullmatch(r"\S+[\s|:]+[-+\d.]\S*", row.cells[0]) for row in rows):
        raise UserError(
            f"{table.source}, line {rows[0].line}: {rows[0].cells[0]!r} is one cell. Separate id and label by a comma."
        )
    pairs = [",".join(row.cells[1:3]) for row in rows if not row.fault]
    if all(re.fullmatch(r"[-+]?\d+,\d+", pair) for pair in pairs) and any(re.search(r",0\d|,\d{3}", p) for p in pairs):
        first = pairs[0]
        raise UserError(
            f"{table.source}, line {rows[0].line}: {first} may be one number or two. Write decimal points, or name the "
            "columns in the first line."
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


class _Files:
    """The files of crystals in a folder, by name and stem."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if kind_of(path) and path.name != ID_PROP:
                self.by_stem.setdefault(Path(uncompressed_name(path)).stem, []).append(path)

    def find(self, name: str) -> tuple[Path | None, str]:
        """Find the file of an id; return None and the reason if there is none."""
        usual = self.folder / f"{name}.cif"
        with suppress(UnicodeError):  # the file may have the bytes of a name from a table that is not in UTF-8
            old = os.fsdecode(name.encode("cp1252"))
            if old != name and old in self.by_stem:
                return self.find(old)
        try:
            if usual.exists():
                return usual, ""
            named = self.folder / name
            if name and kind_of(named) and named.is_file():
                return named, ""
        except (OSError, ValueError) as error:  # the name is too long, or has a NUL
            return None, f"{usual}: cannot be read ({getattr(error, 'strerror', '') or error})"
        found = self.by_stem.get(name, [])
        if len(found) > 1:
            return None, f"{self.folder}: {' and '.join(path.name for path in found)} may both be {name}"
        return (found[0], "") if found else (None, f"{usual}: No such file")


def _published_sample(files: _Files, table: TextTable, row: Row, names: Sequence[str]) -> Sample:
    """Read the crystal of a row with its labels; a broken sample if the file is missing or the row is faulty."""
    name = row.cells[0]
    path, reason = files.find(name)
    labels: Record = {"id": name}
    try:
        if not row.fault:
            labels |= {names[i]: table.number(row, i) for i in range(1, len(names))}
        if path is None or row.fault or not path.is_file():
            reason = f"{table.source}, {row.fault}" if row.fault else reason or f"{path}: not a regular file"
            return Sample(name, labels, "broken", reason, str(path or ""))
        if kind_of(path) == "cif":
            return Sample(name, labels, "cif", read_text(path), str(path))
        samples = list(islice(read_file(InputFile(path, name)), 2))
        if len(samples) != 1:
            return Sample(name, labels, "broken", f"{path}: not one crystal", str(path))
        return replace(samples[0], id=name, labels=labels)
    except UserError as error:
        return Sample(name, labels, "broken", str(error), str(path))
    except Exception as error:  # noqa: BLE001  # damaged files fail anywhere
        reason = getattr(error, "strerror", "") or str(error) or type(error).__name__
        return Sample(name, labels, "broken", f"{path}: cannot be read ({reason})", str(path))


def _cif(source: InputFile) -> Iterator[Sample]:
    from cgcnn.data.cif import crystals  # gemmi

    texts = crystals(read_text(source.path))
    for i, text in enumerate(texts, 1):
        name = source.name if len(texts) == 1 else f"{source.name}-{i}"
        yield Sample(name, {"id": name}, "cif", text)


def _poscar(source: InputFile) -> Iterator[Sample]:
    yield Sample(source.name, {"id": source.name}, "poscar", read_text(source.path))


def _json_lines(source: InputFile) -> Iterator[Sample]:
    with opened(source.path, errors="surrogateescape") as stream:
        records = parse_lines(source.path, lines_of(stream, source.path))
        yield from _records((record for record in records if "x-optimade" not in record), source)


def _table(source: InputFile) -> Iterator[Sample]:
    """Read the rows of a table; faulty rows become broken samples."""
    table = open_table(source.path)
    names = dict(zip(table.header, table.header, strict=True))
    if not any(is_structure(name) for name in names):
        with suppress(UserError):  # then it has no site columns, and its samples say why
            names |= {column: site for site, column in site_columns(table.header)[1].items()}
    for position, row in enumerate(table.rows):
        name = f"{source.prefix}{position}"
        try:
            cells = _plain_cells(table, row)
        except UserError as error:
            yield broken(name, str(error))
        else:
            yield _sample_or_broken(name, from_record, dict(zip(names.values(), cells, strict=True)))


def _plain_cells(table: TextTable, row: Row) -> list[str]:
    """Return the cells of a row, with decimal points except in ids.

    Raises:
        UserError: The row is faulty.
    """
    if row.fault:
        raise UserError(f"{table.source}, {row.fault}")
    named = enumerate(zip(table.header, row.cells, strict=True))
    return [cell if _ID_NAMES.fullmatch(name) else table.number(row, column) for column, (name, cell) in named]


def _records(records: Iterable[Record], source: InputFile) -> Iterator[Sample]:
    """Make the samples of records; those without an id are named by their positions."""
    for position, record in enumerate(records):
        yield _sample_or_broken(f"{source.prefix}{position}", from_record, record)


def _sample_or_broken(name: str, make: Callable[[Any, str], Sample], found: object) -> Sample:
    try:
        return make(found, name)
    except Exception as error:  # noqa: BLE001  # mistyped data fail anywhere, and only for one sample
        return broken(name, f"not a crystal ({' '.join(str(error).split()) or type(error).__name__})")


def _json(source: InputFile) -> Iterator[Sample]:
    """Read a table of Matbench, a pymatgen structure, a list of structures or records, or names with structures."""
    path = source.path
    content = _json_content(path)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        return _records(_matbench(path, content), source)
    if isinstance(content, dict) and isinstance(content.get("data"), (dict, list)):  # a response of OPTIMADE
        data = content["data"]
        return _records(data if isinstance(data, list) else [data], source)
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


def _xyz(source: InputFile) -> Iterator[Sample]:
    """Read extended XYZ; several frames are numbered."""
    _need_ase(source.path)
    with opened(source.path, errors="surrogateescape") as stream:
        frames = _frames(source.path, lines_of(stream, source.path))
        first = list(islice(frames, 2))
        names = repeat(source.name) if len(first) == 1 else (f"{source.name}-{i}" for i in count())
        for frame, name in zip(chain(first, frames), names, strict=False):
            yield _sample_or_broken(name, _frame_sample, frame)


def _frames(path: Path, lines: Iterator[str]) -> Iterator[str]:
    """Yield the text of each frame: a count of atoms, a comment, and that many lines.

    Raises:
        UserError: A count is not a number, or the file ends too early.
    """
    for number, line in enumerate(filter(str.strip, lines)):
        atoms = whole_number(line.strip())
        if atoms is None or atoms > ATOMS:
            raise UserError(f"{path}: frame {number} has {line.strip()[:20]!r} atoms; 0 to {ATOMS:,} are read")
        body = [text for _, text in zip(range(atoms + 1), lines, strict=False)]
        if len(body) <= atoms:
            raise UserError(f"{path}: frame {number} has {atoms} atoms, the file ends before the last")
        yield "".join([line, *body])


def _frame_sample(text: str, name: str) -> Sample:
    from ase.io import read

    atoms: Any = read(StringIO(text), format="extxyz")
    return _ase_sample(atoms, {"id": name, **atoms.info})


def _database(source: InputFile) -> Iterator[Sample]:
    """Read the rows of an ASE database, named by their numbers."""
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


_READERS: dict[str, Callable[[InputFile], Iterator[Sample]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "jsonl": _json_lines,
    "json": _json,
    "csv": _table,
    "xyz": _xyz,
    "db": _database,
}
