"""Named filters over the columns of candidates; the first that a candidate fails gives its status."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from screening.chemistry.descriptors import LEAST_OCTAHEDRAL, MOST_CHARGE_OF_TAU, TOLERANCE
from screening.chemistry.groups import GROUPS, named_elements
from screening.chemistry.oxidation import USUAL
from screening.chemistry.redox import LEAST_MARGIN
from screening.chemistry.sources import crust
from screening.status import MOST_FILTERS, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Filter:
    """A condition on one column: a flag that is true, a value within [low, high], or elements. NaN fails.

    `str()` gives the text that `parse_filter` makes it from.

    Attributes:
        name: The name that users know.
        low: Least value that passes; None for flags and where there is no such limit.
        high: Largest value that passes, likewise.
        elements: Atomic numbers that may not occur; none for other filters.
        share: Least probability that the value lies within the limits, by its standard deviation; None: the value
            itself has to.
    """

    name: str
    low: float | None = None
    high: float | None = None
    elements: tuple[int, ...] = ()
    share: float | None = None

    def __str__(self) -> str:
        limits = ":".join(f"{limit!r}" for limit in (self.low, self.high, self.share) if limit is not None)
        named = ",".join(SYMBOLS[z] for z in self.elements) if KINDS[self.name].value else ""
        return f"{self.name}={limits or named}" if limits or named else self.name

    def passes(self, columns: Columns) -> NDArray[np.bool_]:
        """Tell which candidates (n,) pass, by the filter's column."""
        kind = KINDS[self.name]
        values = columns[kind.column]
        if self.share is not None and kind.deviation in columns:
            return self._likely(values.astype(np.float64), columns[kind.deviation].astype(np.float64))
        if self.elements:
            barred = np.isin(np.arange(MAX_Z + 1), self.elements)
            return np.asarray(~barred[values].any(axis=1))
        if self.name == "rare":
            return self._within(crust()[values].min(axis=1))
        if self.name == "tau" and "charges" in columns:  # of ThTaN3 τ says nothing; TeCdO3 has its charges reversed
            a, rest = columns["charges"][:, 0], columns["charges"][:, 1:].max(axis=1)
            return np.asarray(self._within(values) | ((a > MOST_CHARGE_OF_TAU) & (a <= rest)))
        return values.astype(bool) if self.low is None and self.high is None else self._within(values)

    def _likely(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Check whether values of normal distributions lie within the limits with the probability asked for.

        They are of quantities that cannot be negative, so a lower limit of 0 is none.
        """
        from scipy.special import ndtr  # a third of a second

        low, high = self.low or -math.inf, math.inf if self.high is None else self.high
        with np.errstate(divide="ignore", invalid="ignore"):  # a value without deviation, on a limit, does not pass
            inside = ndtr((high - mean) / std) - ndtr((low - mean) / std)
        return np.asarray(inside >= self.share)

    def _within(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        # Limits are rounded as the column is, so that a value equal to a limit passes.
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        inside: NDArray[np.bool_] = (values >= values.dtype.type(low)) & (values <= values.dtype.type(high))
        return inside


@dataclass(frozen=True)
class Kind:
    """A filter that can be chosen.

    Attributes:
        column: What it looks at.
        value: The form of its value for messages, such as "LO:HI"; empty where it takes none.
        default: The filter where no value is given; None where one has to be.
        parse: Makes (low, high) of a value; raises ValueError.
        meaning: What passes, for users.
        source: Whose numbers or definition these are.
        predicted: Whether the column is there only after the prediction.
        deviation: Column of its standard deviation; empty: the filter looks at the value alone.
        share: Least probability that the value lies within the limits where none is given.
    """

    column: str
    value: str
    default: Filter | None
    parse: Callable[[str], tuple[float | None, float | None]]
    meaning: str
    source: str
    predicted: bool = False
    deviation: str = ""
    share: float | None = None


def parse_filter(text: str) -> Filter:
    """Parse a filter from ``NAME`` or ``NAME=VALUE``.

    Raises:
        UserError: There is no such filter, or its value is malformed; the filters are listed.
    """
    name, given, value = (part.strip() for part in text.partition("="))
    name = ALIASES.get(name, name)
    if name not in KINDS:
        raise UserError(f"`filters` {text}: there is no filter {name!r}. {_choices()}")
    kind = KINDS[name]
    if not given and kind.default is not None:
        return kind.default
    try:
        if kind.value == _ELEMENTS:
            return Filter(name, elements=named_elements(value))
        share = kind.share
        if kind.deviation and value.count(":") == 2:
            value, _, last = value.rpartition(":")
            share = _share(last)
        low, high = kind.parse(value)
    except UserError as error:
        raise UserError(f"`filters` {text}: {error} {_choices()}") from None
    except ValueError:
        raise UserError(f"`filters` {text}: {value!r} is no value for {name!r}. {_choices()}") from None
    return Filter(name, low, high, share=share)


def apply(filters: Sequence[Filter], columns: Columns, *, predicted: bool | None = None) -> NDArray[np.uint8]:
    """Apply filters in order.

    Args:
        filters: As the run has them.
        columns: Name -> (n,) values; those that the filters look at, and at least one.
        predicted: Only filters of predicted columns, or only others; None: all.

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
        if predicted not in {None, KINDS[chosen.name].predicted}:
            continue
        status[(status == Status.OK) & ~chosen.passes(columns)] = Status.FILTERED + position
    return status


def first_of(filters: Sequence[Filter], columns: Collection[str]) -> Sequence[Filter]:
    """Return the filters that come before the first that looks at another column than these."""
    others = (position for position, chosen in enumerate(filters) if KINDS[chosen.name].column not in columns)
    return filters[: next(others, len(filters))]


def _range(text: str) -> tuple[float, float]:
    low, high = (_finite(limit) for limit in text.split(":"))
    if low > high:
        raise ValueError(text)
    return low, high


def _share(text: str) -> float:
    value = _finite(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def _most(text: str) -> tuple[None, float]:
    return None, _finite(text)


def _least(text: str) -> tuple[float, None]:
    return _finite(text), None


def _no_value(text: str) -> tuple[None, None]:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _choices() -> str:
    forms = (
        (f"{name}={kind.value}" + (f" (default {str(kind.default)[len(name) + 1 :]})" if kind.default else ""))
        if kind.value
        else name
        for name, kind in KINDS.items()
    )
    return f"Filters: {', '.join(forms)}."


_ELEMENTS = "EL,EL,…"


def _flag(name: str, column: str, meaning: str, source: str) -> dict[str, Kind]:
    return {name: Kind(column, "", Filter(name), _no_value, meaning, source)}


def _without(name: str, group: str, meaning: str, source: str) -> dict[str, Kind]:
    return {name: Kind("species", "", Filter(name, elements=GROUPS[group]), _no_value, meaning, source)}


KINDS: dict[str, Kind] = {
    **_flag("sites", "sites_plausible", "A is larger than each B, and other; states and radii are known", "ours"),
    **_flag("charge", "charge_balanced", "oxidation states of the chosen set balance", "ICSD 2024 by SMACT"),
    "redox": Kind(
        "redox", "MIN", Filter("redox", LEAST_MARGIN, None), _least,
        "V by which no ion oxidises another or the anion", "standard potentials (CRC Handbook; Bard et al.)",
    ),
    "states": Kind(
        "state_reluctance", "MAX", Filter("states", None, USUAL), _most,
        "reluctance of the most unusual state: log10 of the element's ions for one in it", "ICSD; Davies et al. 2018",
    ),
    "tolerance": Kind(
        "tolerance_factor", "LO:HI", Filter("tolerance", *TOLERANCE), _range,
        "Goldschmidt's t", "Goldschmidt 1926; radii of Shannon 1976",
    ),
    "octahedral": Kind(
        "octahedral_factor", "LO:HI", Filter("octahedral", LEAST_OCTAHEDRAL, 0.90), _range,
        "rB/rX", "Li et al., Acta Cryst. B 2008, 64, 702; radii of Shannon 1976",
    ),
    "tau": Kind("tau", "MAX", Filter("tau", None, 4.18), _most, "Bartel's tau", "Bartel et al. 2019, with their radii"),
    "pauling": Kind(
        "electronegativity_gap", "MIN", Filter("pauling", 0.0, None), _least,
        "every anion is more electronegative than every cation, by so much", "Pauling; as SMACT's test",
    ),
    **_flag("mixed", "mixed_anions", "there is more than one element on X", "yours"),
    **_flag("domain", "in_domain", "the model was trained on each element on its site", "the model"),
    "distance": Kind(
        "domain_distance", "MAX", Filter("distance", None, 0.0), _most,
        "how new the newest element, or X as a whole, is to the model", "the model",
    ),
    "exclude": Kind("species", _ELEMENTS, None, _no_value, "none of these elements or groups", "yours"),
    **_without("radioactive", "radioactive", "no Tc, Pm, nor anything from Po on", "no stable isotope"),
    **_without("toxic", "toxic", "no Be, As, Cd, Hg, Tl, Pb", "EU Regulation 1272/2008"),
    **_without("noble-gas", "noble-gases", "no He, Ne, Ar, Kr, Xe, Rn", "chemistry"),
    "rare": Kind(
        "species", "MIN", Filter("rare", 0.005, None), _least,
        "mg/kg of each element in the earth's crust: no Au, Re, Te, platinum metals but Pd",
        "CRC Handbook, 92nd edition",
    ),
    "hull": Kind(
        "e_above_hull", "MAX", Filter("hull", None, 0.05), _most,
        "predicted energy above hull, eV/atom", "the model", predicted=True,
    ),
    "gap": Kind(
        "band_gap", "LO:HI[:P]", None, _range,
        "the PBE band gap lies within these limits, eV, with a probability of at least P (default 0.5)", "the model",
        predicted=True, deviation="band_gap_std", share=0.5,
    ),
    "leaves": Kind(
        "p_leaves", "MAX", Filter("leaves", None, 0.5), _most,
        "probability that relaxation leaves the ideal sites", "the model", predicted=True,
    ),
    "perovskite": Kind(
        "p_perovskite", "MIN", Filter("perovskite", 0.5, None), _least,
        "probability that it is a perovskite, when it is made", "fitted to ICSD and Bartel et al. 2019", predicted=True,
    ),
    "hhi": Kind(
        "hhi", "MAX", Filter("hhi", None, 2500.0), _most,
        "how few countries produce the elements, by mass (Herfindahl-Hirschman); also called cost",
        "Gaultois et al. 2013",
    ),
}  # fmt: skip
"""The filters by name. Defaults: t and rB/rX wide enough for all well-known perovskites, τ as Bartel et al. (2019),
HHI as the US Department of Justice calls a market highly concentrated."""

ALIASES = {"cost": "hhi"}
"""Other names of filters."""


def explain_filters() -> list[dict[str, str]]:
    """List the filters for users, a row each: name, value, default, meaning, source."""
    return [
        {
            "name": name,
            "value": kind.value,
            "default": str(kind.default).partition("=")[2] if kind.default else "",
            "meaning": kind.meaning,
            "source": kind.source,
        }
        for name, kind in KINDS.items()
    ]
