"""How every candidate of a run ends: one status code a row."""

from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """Status codes, uint8. A candidate that the k-th filter of its run rejected has the code ``FILTERED + k``."""

    UNWRITTEN = 0
    OK = 1
    FAILED = 2
    FILTERED = 10


MOST_FILTERS = 256 - Status.FILTERED
"""How many filters a run can have: their codes must fit into a uint8."""


def labels(filters: Iterable[object]) -> dict[int, str]:
    """The text of each status code of a run with these filters, for ledgers and headers.

    Args:
        filters: the run's filters in order; `str()` gives the text that the user knows.

    Returns:
        code -> text, for every code a finished row can have.
    """
    filtered = {Status.FILTERED + k: f"filtered by {name}" for k, name in enumerate(filters)}
    return {int(Status.OK): "ok", int(Status.FAILED): "failed"} | filtered
