"""How every candidate of a run ends: one status code a row."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Status(IntEnum):
    """Status codes, uint8. A candidate that the k-th filter of its run rejected has the code ``FILTERED + k``.

    One that a cascade set aside passed the filters, and its student does not think that it reaches the top: no ensemble
    looked at it, and it has no prediction.
    """

    UNWRITTEN = 0
    OK = 1
    FAILED = 2
    SET_ASIDE = 3
    FILTERED = 10


MOST_FILTERS = 256 - Status.FILTERED
"""How many filters a run can have: their codes must fit into a uint8."""


def labels(filters: Iterable[object], *, cascade: bool = False) -> dict[int, str]:
    """Return the text of each status code of a run with these filters, for ledgers and headers.

    Args:
        filters: The run's filters in order; `str()` gives the text that the user knows.
        cascade: Whether the run has one.

    Returns:
        code -> text, for every code a finished row can have.
    """
    filtered = {Status.FILTERED + k: f"filtered by {name}" for k, name in enumerate(filters)}
    aside = {int(Status.SET_ASIDE): "set aside by the cascade"} if cascade else {}
    return {int(Status.OK): "ok", int(Status.FAILED): "failed"} | aside | filtered
