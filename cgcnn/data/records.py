"""Records of a data set: dictionaries, a line of JSON each. Needs neither torch nor pymatgen."""

from __future__ import annotations

import json
import lzma
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgcnn.data.opening import lines_of, opened
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Record = dict[str, Any]


def read_records(path: str | Path) -> list[Record]:
    """Records of a JSON Lines file, plain or compressed (.xz, .gz, .bz2), in file order.

    Raises:
        UserError: No such file, not JSON Lines, or empty.
    """
    file = Path(path)
    try:
        with opened(file, errors="surrogateescape") as stream:
            records = list(parse_lines(file, lines_of(stream, file)))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if not records:
        raise UserError(f"{file}: no records; expected one JSON object a line")
    return records


def parse_lines(file: Path, lines: Iterable[str]) -> Iterator[Record]:
    """One record for each line that is not blank.

    Raises:
        UserError: A line is not a JSON object; the message names it.
    """
    return (_parse(file, number, line) for number, line in enumerate(lines, 1) if line.strip())


def _parse(file: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "") or str(error)
        raise UserError(f"{file}, line {number}: not JSON ({reason}); expected one object a line") from None
    if not isinstance(record, dict):
        raise UserError(f"{file}, line {number}: a {type(record).__name__}, expected a JSON object")
    return record
