"""The lines of the ranked CSV, many rows at a time: what `screening.results.tables` says of one row, as bytes.

Columns are the texts of `screening.candidates.texts`: one below the other and turned, they are the lines, but for NULs.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.files import csv_line
from screening.candidates.columns import DECIMALS, split_ranked
from screening.candidates.texts import make_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from screening.candidates.kind import Candidates
    from screening.candidates.texts import Text
    from screening.results.ranking import Rows

AT_ONCE = 8000
"""Rows whose bytes the processor's cache holds; rows of a power of two would share a few of its sets."""
WRITERS = 2
"""Threads that write lines; most of the time each is in numpy, which lets others work."""
_FLAGS = make_text(["false", "true"])
MOST = 2**31
"""Scaled numbers from this on are written one by one."""


def csv_lines(batches: Iterable[Rows], candidates: Candidates) -> Iterator[bytes]:
    """The lines of the ranked CSV without its header, some thousand at a time.

    Args:
        batches: Rows in order of rank.
        candidates: Those of the run.
    """
    parts, waiting = _parts(batches, candidates), deque[Future[bytes]]()
    with ThreadPoolExecutor(WRITERS) as writers:
        for rows, rank, given in parts:
            waiting.append(writers.submit(lambda *part: join_lines(_columns(*part)), rows, candidates, rank, given))
            if len(waiting) > 2 * WRITERS:
                yield waiting.popleft().result()
        yield from (lines.result() for lines in waiting)


def _parts(batches: Iterable[Rows], candidates: Candidates) -> Iterator[tuple[Rows, int, list[list[str]]]]:
    """`AT_ONCE` rows each, with the rank of the first and the texts that came with them."""
    rank = 1
    for batch in batches:
        texts = candidates.texts(batch["index"].tolist()) if candidates.text_columns else {}
        for first in range(0, len(batch["index"]), AT_ONCE):
            rows = {name: values[first : first + AT_ONCE] for name, values in batch.items()}
            yield rows, rank, [texts[index] for index in rows["index"].tolist()] if texts else []
            rank += len(rows["index"])


def _columns(
    rows: Rows, candidates: Candidates, rank: int, given: Sequence[Sequence[str]]
) -> list[Text | Sequence[str]]:
    """The columns of `screening.results.tables.table_rows`, from this rank on, of rows that came with texts."""
    columns: list[Text | Sequence[str]] = [number(rank + np.arange(len(rows["index"]))), number(rows["index"])]
    columns += candidates.names(rows, given).values()
    values, last = (
        [value(column.name, rows[column.name]) for column in ranked] for ranked in split_ranked(candidates.ranked)
    )
    columns += [*values, *candidates.remarks_of(rows).values(), *last]
    further = [place for place, name in enumerate(candidates.text_columns) if name not in candidates.name_columns]
    return columns + [[row[place] for row in given] for place in further]


def join_lines(columns: Sequence[Text | Sequence[str]]) -> bytes:
    """CSV lines of n rows.

    Args:
        columns: Each (w, n) bytes of texts that need no quotes, or n texts of any kind.
    """
    kinds = [
        (plain, list(group)) for plain, group in groupby(columns, key=lambda values: isinstance(values, np.ndarray))
    ]
    if len(kinds) == 1 and kinds[0][0]:
        return _joined(kinds[0][1])
    parts = [_joined(group).split(b"\n")[:-1] if plain else _quoted(group) for plain, group in kinds]
    return b"".join(b",".join(row) + b"\n" for row in zip(*parts, strict=True))


def number(values: NDArray[np.integer[Any]]) -> Text:
    """Numbers from 0 on."""
    whole = values.astype(np.uint64)
    digits = len(str(int(whole.max(initial=0))))
    return _digits(whole.astype(np.uint32) if digits < 10 else whole, digits, 1)


def value(name: str, values: np.ndarray) -> Text:
    """The values of a column, as `screening.results.tables.text_of` writes each."""
    return flag(values) if values.dtype == bool else fixed(values, DECIMALS[name])


def flag(values: NDArray[np.bool_]) -> Text:
    """Words for flags."""
    return np.take(_FLAGS, values.astype(np.intp), axis=1)


def fixed(values: NDArray[np.float32], decimals: int) -> Text:
    """Numbers with so many decimals, rounded as Python does; nothing for NaN.

    The product with a power of ten is exact: 24 bits of a float32 and 17 of 5^7 fit the 53 of a double.
    """
    scaled = np.rint(np.abs(values.astype(np.float64)) * 10**decimals)
    there = scaled < MOST  # neither NaN nor infinite
    whole = np.where(there, scaled, 0).astype(np.uint32)
    digits = max(len(str(int(whole.max(initial=0)))), decimals + 1)
    text = _digits(whole, digits, decimals + 1)
    sign = np.where(np.signbit(values), ord("-"), 0).astype(np.uint8)[None]
    point = [np.full_like(sign, ord("."))] if decimals else []
    text = np.concatenate([sign, text[: digits - decimals], *point, text[digits - decimals :]])
    text[:, ~there] = 0
    odd = np.flatnonzero(~there & ~np.isnan(values))
    return _with(text, odd, [f"{values[i]:.{decimals}f}" for i in odd])


def _digits(whole: NDArray[np.unsignedinteger[Any]], digits: int, shown: int) -> Text:
    """(digits, n) decimal digits, without zeros on the left beyond the last `shown`."""
    text = np.empty((digits, len(whole)), dtype=np.uint8)
    rest = whole
    for place in range(digits):
        above = rest // 10
        digit = (rest - above * 10).astype(np.uint8) + ord("0")
        text[digits - 1 - place] = digit if place < shown else np.where(rest > 0, digit, 0)
        rest = above
    return text


def _with(text: Text, rows: NDArray[np.intp], texts: Sequence[str]) -> Text:
    """The text with some rows written anew."""
    if not texts:
        return text
    new = make_text(texts)
    padded = np.pad(text, ((0, max(len(new) - len(text), 0)), (0, 0)))
    padded[:, rows] = np.pad(new, ((0, len(padded) - len(new)), (0, 0)))
    return padded


def _joined(columns: list[Any]) -> bytes:
    count = columns[0].shape[1]
    comma = np.full((1, count), ord(","), dtype=np.uint8)
    parts = [part for column in columns for part in (comma, column)][1:]
    end = np.full((1, count), ord("\n"), dtype=np.uint8)
    return np.concatenate([*parts, end]).T.tobytes().translate(None, b"\0")


def _quoted(columns: list[Any]) -> list[bytes]:
    """The cells of some columns of strings, with the commas between them."""
    rows = zip(*columns, strict=True)  # behind a first cell that is cut off: alone, an empty one would get quotes
    return [csv_line(["", *row])[1:-1].encode("utf-8", errors="backslashreplace") for row in rows]
