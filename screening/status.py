"""How every candidate of a run ends: one status code a row."""

from enum import IntEnum


class Status(IntEnum):
    """Status codes, uint8. A candidate that the k-th filter of its run rejected has the code ``FILTERED + k``."""

    UNWRITTEN = 0
    OK = 1
    FAILED = 2
    FILTERED = 10


MOST_FILTERS = 256 - Status.FILTERED
"""How many filters a run can have: their codes must fit into a uint8."""


def labels(filter_names: tuple[str, ...]) -> dict[int, str]:
    """The text of each status code of a run with these filters, for ledgers and headers.

    Args:
        filter_names: the run's filters as the user writes them, in order.

    Returns:
        code -> text, for every code a finished row can have.
    """
    filtered = {Status.FILTERED + k: f"filtered by {name}" for k, name in enumerate(filter_names)}
    return {int(Status.OK): "ok", int(Status.FAILED): "failed"} | filtered
