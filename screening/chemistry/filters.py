"""Named filters over the columns of candidates; the first that a candidate fails gives its status."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cgcnn.errors import UserError
from screening.chemistry.descriptors import LEAST_OCTAHEDRAL, TOLERANCE
from screening.status import MOST_FILTERS, Status

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Filter:
    """A condition on one column: a flag that is true, or a value within [low, high]. NaN fails.

    `str()` gives the text that `parse_filter` makes it from.

    Attributes:
        name: The name that users know.
        low: Least value that passes; None for flags and where there is no such limit.
        high: Largest value that passes, likewise.
    """

    name: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        limits = ":".join(f"{limit!r}" for limit in (self.low, self.high) if limit is not None)
        return f"{self.name}={limits}" if limits else self.name

    def passes(self, columns: Columns) -> NDArray[np.bool_]:
        """Which candidates (n,) pass, by the filter's column."""
        values = columns[KINDS[self.name].column]
        if self.high is None:
            return values.astype(bool)
        # Limits are rounded as the column is, so that a value equal to a limit passes.
        low, high = (values.dtype.type(limit) for limit in (-math.inf if self.low is None else self.low, self.high))
        inside: NDArray[np.bool_] = (values >= low) & (values <= high)
        return inside


@dataclass(frozen=True)
class Kind:
    """A filter that can be chosen.

    Attributes:
        column: What it looks at.
        value: The form of its value for messages, such as "LO:HI"; empty for flags.
        default: The filter where no value is given.
        parse: Makes (low, high) of a value; raises ValueError.
    """

    column: str
    value: str
    default: Filter
    parse: Callable[[str], tuple[float | None, float | None]]


def parse_filter(text: str) -> Filter:
    """A filter from ``NAME`` or ``NAME=VALUE``.

    Raises:
        UserError: There is no such filter, or its value is malformed; the filters are listed.
    """
    name, given, value = (part.strip() for part in text.partition("="))
    if name not in KINDS:
        raise UserError(f"--filter {text}: there is no filter {name!r}. {_choices()}")
    if not given:
        return KINDS[name].default
    try:
        return Filter(name, *KINDS[name].parse(value))
    except ValueError:
        raise UserError(f"--filter {text}: {value!r} is no value for {name!r}. {_choices()}") from None


def apply(filters: Sequence[Filter], columns: Columns) -> NDArray[np.uint8]:
    """Apply filters in order.

    Args:
        filters: As the run has them.
        columns: Name -> (n,) values; those that the filters look at, and at least one.

    Returns:
        (n,) uint8: `Status.OK`, or `Status.FILTERED` + the position of the first filter that the candidate fails.

    Raises:
        UserError: There are more filters than status codes.
    """
    if len(filters) > MOST_FILTERS:
        raise UserError(f"{len(filters)} filters are too many; use at most {MOST_FILTERS}.")
    n = len(next(iter(columns.values())))
    status = np.full(n, Status.OK, dtype=np.uint8)
    for position, chosen in enumerate(filters):
        status[(status == Status.OK) & ~chosen.passes(columns)] = Status.FILTERED + position
    return status


def _no_value(text: str) -> tuple[None, None]:
    raise ValueError(text)


def _range(text: str) -> tuple[float, float]:
    low, high = (_finite(limit) for limit in text.split(":"))
    if low > high:
        raise ValueError(text)
    return low, high


def _most(text: str) -> tuple[None, float]:
    return None, _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _choices() -> str:
    forms = (
        f"{name}={kind.value} (default {str(kind.default)[len(name) + 1 :]})" if kind.value else name
        for name, kind in KINDS.items()
    )
    return f"Filters: {', '.join(forms)}."


KINDS = {
    "charge": Kind("charge_balanced", "", Filter("charge"), _no_value),
    "tolerance": Kind("tolerance_factor", "LO:HI", Filter("tolerance", *TOLERANCE), _range),
    "octahedral": Kind("octahedral_factor", "LO:HI", Filter("octahedral", LEAST_OCTAHEDRAL, 0.90), _range),
    "tau": Kind("tau", "MAX", Filter("tau", None, 4.18), _most),
    "domain": Kind("in_domain", "", Filter("domain"), _no_value),
    "distance": Kind("domain_distance", "MAX", Filter("distance", None, 0.0), _most),
}
"""The filters by name. Defaults: t and rB/rX wide enough for all well-known perovskites, τ as Bartel et al. (2019)."""
