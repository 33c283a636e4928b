"""Read tables written by people: lists, labels, ids, oxidation states and known compounds.

A table is text with a header line, or the one filled sheet of an Excel workbook. The reader accepts UTF-8, UTF-16 and
Windows-1252, commas, semicolons and tabs, decimal commas, quoted cells, comments, and the empty rows that spreadsheets
leave. It refuses anything ambiguous and names line, column and cell: no cell and no row is ever dropped.
"""

from __future__ import annotations

import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from cgcnn.data.limits import CRYSTAL, decompressed, lines_of
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
WORKBOOK = 2**30
"""Largest number of bytes of XML in a workbook, which openpyxl reads piece by piece."""
HEAD = 1000
"""Number of rows that decide what a comma in a number means."""

_LONG = re.compile(r"cif|structure|poscar", re.IGNORECASE)  # columns whose cells may hold whole files
_NOT_CLEAR = re.compile("[\x80-\xff]{4}")  # bytes of Cyrillic, Greek or Chinese rather than of a Western word
_WITH_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_MAY_BE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_WITH_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?|[+-]?\d+\.(?:[eE][+-]?\d+)?")
_BLANKS = " \t\xa0"
_WORKBOOK, _OLD_WORKBOOK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        line: First line in the file, from 1; in a workbook, the number of the row.
        cells: One cell for each column, without surrounding blanks unless quoted.
        fault: Why the row cannot be trusted, beginning with ``line 3: ``; empty if it can.
    """

    line: int
    cells: tuple[str, ...]
    fault: str = ""


@dataclass
class TextTable:
    """An open table, read row by row.

    Attributes:
        source: Name in messages.
        header: Unique names of the columns; empty for a table without a header.
        rows: Rows below the header, to be read once. Reading raises `UserError` if the file breaks off or a quote stays
            open.
        separator: Text between the cells; empty in a workbook.
        commas: Positions of columns whose numbers have decimal commas.
    """

    source: str
    header: tuple[str, ...]
    rows: Iterator[Row]
    separator: str = ","
    commas: frozenset[int] = field(default_factory=frozenset)

    def number(self, row: Row, column: int) -> str:
        """Return a cell with a decimal point if it is a number, otherwise as it is.

        Raises:
            UserError: The cell has a decimal point, but its column has decimal commas.
        """
        cell = row.cells[column]
        if column in self.commas:
            if _WITH_COMMA.fullmatch(cell):
                return cell.replace(",", ".")
            if _WITH_POINT.fullmatch(cell):
                raise UserError(
                    f"{self.where(row, column)}: {cell} has a point where other rows have decimal commas. "
                    "Write all numbers of the column alike."
                )
        return cell

    def record(self, row: Row) -> dict[str, str]:
        """Return the cells of a row by the names of their columns."""
        return dict(zip(self.header, row.cells, strict=True))

    def where(self, row: Row, column: int) -> str:
        """Describe the place of a cell, such as ``some.csv, line 3, column A``."""
        return f"{self.source}, line {row.line}, column {_name(self.header, column)}"

    @property
    def said(self) -> str:
        """The columns for messages, with a hint if their separator may be wrong."""
        if len(self.header) == 1 and re.search("[,;]", self.header[0]):
            return f"{self.header[0]} (one cell, as quotes are around all of them)"
        if len(self.header) == 1 and (odd := re.search(r"[|:\s]", self.header[0])):
            what = "blanks" if odd.group().isspace() else odd.group()
            return f"{self.header[0]} (one column: separate cells by commas, semicolons or tabs, not by {what})"
        return ",".join(self.header) or "none"


def open_table(path: Path, *, header: bool = True, source: str = "") -> TextTable:
    """Open a table.

    Rows without text are skipped, as are comments: lines that begin with ``#`` before the header, and such lines of one
    cell below it. A row with too few cells is filled up with empty ones; a row with too many filled cells has a fault.

    Args:
        path: A text, which may be compressed (.gz, .xz, .bz2), or an Excel workbook (.xlsx, extra ``excel``).
        header: Whether the first row names the columns; if not, the most common number of cells is the width.
        source: Name of the file in messages; by default its path.

    Raises:
        UserError: The file cannot be read, its separator is not clear, or two columns have one name.
    """
    name = source or str(path)
    separator, records = _records(path, name, header=header)
    first = next(records, None)
    if first is None:
        return TextTable(name, (), iter(()), separator)
    line, cells, fault = first
    if fault:
        raise UserError(f"{name}, {fault}")
    while header and cells and not cells[-1]:  # empty columns that spreadsheets leave
        cells = cells[:-1]
    if header:
        _refuse_swallowed(cells, tuple(cells), f"{name}, line {line}", separator)
        names = _names(cells, f"{name}, line {line}")
    else:
        some = [first, *islice(records, HEAD)]
        names, records = ("",) * _usual_width(some), chain(some, records)
    rows = _rows(records, names, name, separator)
    head = list(islice(rows, HEAD))
    return TextTable(name, names if header else (), chain(head, rows), separator, _commas(head, separator))


def _usual_width(records: Iterable[tuple[int, list[str], str]]) -> int:
    """Return the most common number of cells; of two equally common numbers, the smaller."""
    counts = Counter(len(cells) for _, cells, _ in records)
    return max(counts, key=lambda width: (counts[width], -width))


def _names(cells: list[str], where: str) -> tuple[str, ...]:
    """Return the names of a header.

    Raises:
        UserError: Two columns have one name.
    """
    names = tuple(" ".join(cell.split()) or f"column {position}" for position, cell in enumerate(cells, 1))
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{where}: {count} columns are called {name}. Give each column a name of its own.")
    return names


def _rows(
    records: Iterable[tuple[int, list[str], str]], names: tuple[str, ...], source: str, separator: str
) -> Iterator[Row]:
    """Yield the rows of records (line, cells, fault), each as wide as the table."""
    width = len(names)
    for line, cells, fault in records:
        _refuse_swallowed(cells, names, f"{source}, line {line}", separator)
        beyond = next((cell for cell in cells[width:] if cell.strip()), "")
        if width > 1 and not fault and not any(cells[1:]) and (between := _other_separator(cells[0], width)):
            fault = f"line {line}: {_short(cells[0])} is one cell for {width} columns; {between} separate nothing here."  # noqa: PLW2901
        if beyond and not fault:
            fault = _beyond(line, cells, names, beyond, separator)  # noqa: PLW2901  # of this row
        yield Row(line, (*cells[:width], *[""] * (width - len(cells))), fault)


def _other_separator(cell: str, width: int) -> str:
    """Return what separates a row of this width within one cell, which has another separator or is quoted."""
    return next((f"{name}s" for mark, name in SEPARATORS.items() if cell.count(mark) == width - 1), "")


def _beyond(line: int, cells: list[str], names: tuple[str, ...], beyond: str, separator: str) -> str:
    """Say what is wrong with a row that has more cells than there are columns."""
    named = f" ({','.join(names)})" if any(names) and len(names) <= 12 else ""
    fault = f"line {line}: {len(cells)} cells for {len(names)} columns{named}; {_short(beyond)} is beyond the last."
    if separator == "," and any(a.lstrip("+-").isdecimal() and b.isdecimal() for a, b in pairwise(cells)):
        return f"{fault} Write decimal points, or separate cells by semicolons."
    between = SEPARATORS.get(separator, "comma")
    return f"{fault} Name its column in the header, or put cells that hold a {between} into quotes."


def _refuse_swallowed(cells: list[str], names: tuple[str, ...], where: str, separator: str) -> None:
    """Refuse a cell of several lines that may hide rows, as after an open quote or a ditto mark.

    Rows between two stray quotes bring at least as many separators into the cell as a row has, or change the number of
    cells of the row.

    Raises:
        UserError: There is one.
    """
    for position, cell in enumerate(cells):
        if not separator or not ("\n" in cell or "\r" in cell) or _LONG.search(_name(names, position)):
            continue
        if cell.count(separator) >= len(names) - 1 or len(cells) != len(names):
            raise UserError(
                f"{where}, column {_name(names, position)}: the quote before {_short(cell.lstrip(separator))} ends on "
                "another line and may hide rows. Close it on its line; write out what a ditto mark stands for."
            )


def _commas(head: list[Row], separator: str) -> frozenset[int]:
    """Return the columns whose numbers have decimal commas: some surely do, and none has a point."""
    found = set()
    for column, cells in enumerate(zip(*(row.cells for row in head if not row.fault), strict=True)):
        numbers = [cell for cell in cells if _WITH_COMMA.fullmatch(cell)]
        sure = separator == ";" or not all(_MAY_BE_THOUSANDS.fullmatch(cell) for cell in numbers)
        if numbers and sure and not any(_WITH_POINT.fullmatch(cell) for cell in cells):
            found.add(column)
    return frozenset(found)


def _name(names: tuple[str, ...], position: int) -> str:
    return (" ".join(names[position].split()) if position < len(names) else "") or str(position + 1)


def _short(cell: str) -> str:
    text = " ".join(cell.split())
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


# Text


def _records(path: Path, source: str, *, header: bool) -> tuple[str, Iterator[tuple[int, list[str], str]]]:
    """Find the separator of a file, and read its records: line, cells, fault.

    Raises:
        UserError: The file cannot be opened, or its separator is not clear.
    """
    try:
        stream = decompressed(path)
        start = stream.peek(4)[:4]
    except FileNotFoundError:
        raise UserError(f"{source}: No such file. Give a CSV file.") from None
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{source}: cannot be read ({reason}). Give a CSV file.") from None
    if start == _OLD_WORKBOOK:
        stream.close()
        raise UserError(f"{source}: a workbook of an old Excel version. Save it as .xlsx or CSV.")
    if start == _WORKBOOK:
        return "", _workbook(stream, source)
    lines = enumerate(_text_lines(stream, start, path, source), 1)
    head, first = _first(lines, source)
    separator = next(filter(None, (_stated(line) for _, line in head)), "")
    if separator:
        head = [(number, line) for number, line in head if not _stated(line)]
    else:
        separator = _separator(first, f"{source}, line {head[-1][0]}") if first else ","
    return separator, _cells(chain(head, lines), separator, source, header=header)


def _stated(line: str) -> str | None:
    """Return the separator that Excel's line ``sep=;`` states."""
    found = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", line, re.IGNORECASE | re.DOTALL)
    return found.group(1) if found and found.group(1) in SEPARATORS else None


def _first(lines: Iterator[tuple[int, str]], source: str) -> tuple[list[tuple[int, str]], str]:
    """Read the lines up to the end of the first record that is neither empty nor a comment; return them and its text.

    Raises:
        UserError: A quote in it is never closed.
    """
    head: list[tuple[int, str]] = []
    for number, line in lines:
        head.append((number, line))
        if not line.strip(" \t\r\n,;\xa0") or line.lstrip().startswith("#"):
            continue
        text = line
        while all(_split(text, separator)[2] is not None for separator in SEPARATORS):
            more = next(lines, None)
            if more is None or len(text) > CRYSTAL:
                raise UserError(f"{source}, line {number}: a quote opens that nothing closes.")
            head.append(more)
            text += more[1]
        return head, text
    return head, ""


def _separator(first: str, where: str) -> str:
    """Find the separator of the first record: the one that gives most cells.

    Raises:
        UserError: Two give the same number.
    """
    found = {separator: _split(first, separator)[0] for separator in SEPARATORS}
    counts = {separator: len(cells) for separator, cells in found.items()}
    for separator in (";", "\t"):
        if counts[separator] > 1 and all(_WITH_COMMA.fullmatch(cell) for cell in found[separator] if "," in cell):
            counts[","] = 1  # they are decimal commas
    most = max(counts.values())
    if most == 1:
        return ","
    chosen = [separator for separator, count in counts.items() if count == most]
    if len(chosen) > 1:
        both = " and ".join(f"{SEPARATORS[separator]}s" for separator in chosen)
        raise UserError(f"{where}: {both} may both separate the cells. Put cells that hold one of them into quotes.")
    return chosen[0]


def _cells(
    lines: Iterator[tuple[int, str]], separator: str, source: str, *, header: bool
) -> Iterator[tuple[int, list[str], str]]:
    """Yield the filled records of numbered lines; a quoted cell may span several lines.

    Raises:
        UserError: A quote stays open.
    """
    begun = False
    for number, cells, fault, commented in _all_cells(lines, separator, source):
        texts = [cell for cell in cells if cell.strip()]
        if not texts and not fault:
            continue
        if commented and not re.match(r"#\d", texts[0]):
            if len(texts) == 1 or (not begun and (header or not any(map(_is_number, texts)))):
                continue
            fault = fault or (  # noqa: PLW2901  # of this row
                f"line {number}: begins with # but has {len(texts)} cells. Delete the line if it is a comment; put the "
                "first cell into quotes if it is data."
            )
        begun = True
        yield number, cells, fault


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _all_cells(
    lines: Iterator[tuple[int, str]], separator: str, source: str
) -> Iterator[tuple[int, list[str], str, bool]]:
    """Yield all records of numbered lines: line, cells, fault, and whether they begin with ``#``."""
    for number, line in lines:
        if '"' not in line:
            cells = [cell.strip() for cell in line.split(separator)]
            yield number, cells, "", cells[0].startswith("#")
            continue
        text = line
        cells, odd, opened = _split(text, separator)
        while opened is not None:
            more, size = [], len(text)
            for _, following in lines:
                more.append(following)
                size += len(following)
                if '"' in following or size > CRYSTAL:
                    break
            if not more or size > CRYSTAL:
                raise UserError(
                    f"{source}, line {number}, cell {opened + 1}: a quote opens before "
                    f"{_short(_after(line, opened, separator))} that nothing closes. Close it; write out what a ditto "
                    "mark stands for."
                )
            text = "".join([text, *more])
            cells, odd, opened = _split(text, separator)
        fault = f"line {number}: {_short(odd)} follows a closing quote. Double the quotes within a cell." if odd else ""
        if fault and text is not line:
            raise UserError(f"{source}, {fault}")
        yield number, cells, fault, line.lstrip().startswith("#")


def _after(line: str, cell: int, separator: str) -> str:
    """Return the text after the quote that opens a cell of a line."""
    return separator.join(line.split(separator)[cell:]).strip().lstrip('"')


def _split(text: str, separator: str) -> tuple[list[str], str, int | None]:
    """Return the cells of a record, text after a closing quote, and the position of a cell whose quote stays open."""
    cells: list[str] = []
    odd, at, end = "", 0, len(text)
    blanks = _BLANKS.replace(separator, "")
    while True:
        start = at
        while start < end and text[start] in blanks:
            start += 1
        if start < end and text[start] == '"':
            cell, after = _quoted(text, start + 1)
            if after < 0:
                return cells, odd, len(cells)
            stop = text.find(separator, after)
            rest = text[after : stop if stop >= 0 else end].strip()
            odd = odd or rest
            cells.append(cell + rest)
        else:
            stop = text.find(separator, at)
            cells.append(text[at : stop if stop >= 0 else end].strip())
        if stop < 0:
            return cells, odd, None
        at = stop + 1


def _quoted(text: str, start: int) -> tuple[str, int]:
    """Return the quoted cell that begins at a position, and where it ends; -1 if it does not end."""
    parts = []
    while (stop := text.find('"', start)) >= 0:
        parts.append(text[start:stop])
        if text[stop + 1 : stop + 2] != '"':
            return '"'.join(parts), stop + 1
        start = stop + 2
    return "", -1


def _text_lines(stream: io.BufferedReader, start: bytes, path: Path, source: str) -> Iterator[str]:
    """Yield the lines of a text, with their ends.

    Raises:
        UserError: The file is damaged, or its encoding is not supported.
    """
    wide = _wide(start)
    try:
        with io.TextIOWrapper(stream, encoding=wide or "latin-1", newline="") as text:
            lines = lines_of(text, path)
            for line in lines if wide else _decoded(lines, source):
                yield line.removeprefix("\ufeff")
    except UnicodeError:
        raise UserError(f"{source}: damaged UTF-16. Save it as CSV in UTF-8.") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{source}: cannot be read to its end ({error}).") from None


def _wide(start: bytes) -> str:
    """Return the encoding of a text whose first bytes show two or four bytes per character; else empty."""
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    zeros = "".join("0" if byte == 0 else "x" for byte in start[:2])
    return {"x0": "utf-16-le", "0x": "utf-16-be"}.get(zeros, "")


def _decoded(lines: Iterator[str], source: str) -> Iterator[str]:
    """Decode lines of bytes: all in UTF-8, or all in Windows-1252.

    Raises:
        UserError: They are in neither, or in a mixture.
    """
    encoding = ""
    for number, line in enumerate(lines, 1):
        if line.isascii():
            yield line
            continue
        raw = line.encode("latin-1")
        text, found = _as_text(raw, "utf-8"), "utf-8"
        if text is None:
            text, found = None if _NOT_CLEAR.search(line) else _as_text(raw, "cp1252"), "cp1252"
        if text is None or (encoding and found != encoding):
            what = "neither UTF-8 nor clearly Windows-1252" if text is None else "in another encoding than lines above"
            raise UserError(f"{source}, line {number}: {what}. Save the file as CSV in UTF-8.")
        encoding = found
        yield text


def _as_text(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


# Workbooks


def _workbook(stream: io.BufferedReader, source: str) -> Iterator[tuple[int, list[str], str]]:
    """Read the records of the one filled sheet of a workbook.

    Raises:
        UserError: It is not a workbook, several sheets are filled, or a formula was never calculated.
    """
    try:
        from openpyxl import load_workbook  # an extra
    except ImportError:
        stream.close()
        raise UserError(
            f"{source}: a workbook, which needs openpyxl: pip install 'perovskite-screening[excel]', or save it as CSV."
        ) from None
    try:
        with stream:
            content = io.BytesIO(stream.read(CRYSTAL))
        _check_size(content, source)
        values, formulas = (load_workbook(content, data_only=only, read_only=True) for only in (True, False))
        sheets = {name: list(_sheet(values[name], formulas[name], source)) for name in values.sheetnames}
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  # openpyxl documents no set of errors
        raise UserError(f"{source}: not a readable workbook ({str(error) or type(error).__name__}).") from None
    filled = {name: rows for name, rows in sheets.items() if rows}
    if len(filled) > 1:
        raise UserError(f"{source}: the sheets {', '.join(filled)} are filled. Save the one that you mean as CSV.")
    yield from next(iter(filled.values()), [])


def _check_size(content: io.BytesIO, source: str) -> None:
    """Refuse a workbook that unpacks to more than people write."""
    with zipfile.ZipFile(content) as parts:
        if sum(part.file_size for part in parts.infolist()) > WORKBOOK:
            raise UserError(f"{source}: a workbook of more than {WORKBOOK >> 20} MiB. Save the sheet as CSV.")


def _sheet(values: Any, formulas: Any, source: str) -> Iterator[tuple[int, list[str], str]]:  # openpyxl has no types
    pairs = zip(values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), strict=True)
    for number, (row, written) in enumerate(pairs, 1):
        for value, formula in zip(row, written, strict=True):
            if value is None and formula is not None:
                raise UserError(f"{source}, row {number}: {_short(str(formula))} has no value. Save it in Excel.")
        cells = [_text(value) for value in row]
        if any(cells):
            yield number, cells, ""


def _text(value: object) -> str:
    """Return the text of a cell of a workbook."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return "" if value is None else str(value).strip()
