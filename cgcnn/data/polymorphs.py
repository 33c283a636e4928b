"""Computed crystals as perovskite polymorphs of compositions: the lowest of each, and what is known of the cubic one.

Where only the cubic crystal was computed, and it does not lie on the hull, its energy is an upper bound of that of the
lowest polymorph: another may be lower. How much lower, a potential can tell: `Gain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cgcnn.data.crystal import structure
from cgcnn.data.sample import Sample
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cgcnn.graphs.perovskite import Perovskite

    Sites = tuple[tuple[str, object], ...]

ENERGY = "e_above_hull"
BOUND = "e_above_hull_is_bound"
COMPUTED = "e_above_hull_computed"
ON_HULL = 1e-4  # eV/atom; nothing lies lower than what lies here
CUBIC, TILTED = -0.001, -0.002
"""eV/atom: what gains less by tilting counts as cubic, what gains more as tilted."""


@dataclass(frozen=True)
class Gain:
    """What the best relaxed start of a composition has over its relaxed cubic crystal.

    Attributes:
        difference: Its energy minus that of the cubic crystal, eV/atom; negative if it is lower.
        tilted: Whether its octahedra are tilted.
    """

    difference: float
    tilted: bool


def gains(rows: Iterable[Sample]) -> dict[Sites, Gain]:
    """Read the gains of compositions from the rows of a table of relaxed starts, one row for each start.

    Its columns are A, B, B' (empty for ABX3), X, ``difference`` (eV/atom) and ``became``, what the perovskite test
    found, such as "single tilted a-b+a-". A start that became no perovskite says nothing of perovskites; where all did,
    the composition has no gain.

    Raises:
        UserError: A row lacks an element or a difference.
    """
    found: dict[Sites, Gain] = {}
    for row in rows:
        labels = row.labels
        try:
            a, b, x, difference = labels["A"], labels["B"], labels["X"], float(labels["difference"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"row {row.id}: a row of relaxed starts needs A, B, X and a difference in eV/atom"
            ) from None
        became = str(labels.get("became") or "")
        if not became:
            continue
        second = labels.get("B'")
        sites: Sites = (
            (("A", a), ("B", b), ("B'", second), ("X", x)) if second else (("A", a), ("B", b), ("X", (x,) * 3))
        )
        best, key = found.get(_either_way(sites)), _either_way(sites)
        if best is None or difference < best.difference:
            found[key] = Gain(difference, " tilted" in became)
    return found


def _either_way(sites: Sites) -> Sites:
    """The same for both orders of B and B'."""
    named = dict(sites)
    if "B'" in named:
        named["B"], named["B'"] = sorted((str(named["B"]), str(named["B'"])))
    return tuple(sorted(named.items()))


def lowest_polymorphs(samples: Iterable[Sample], gains: Mapping[Sites, Gain] | None = None) -> list[Sample]:
    """A sample for each assignment of elements to the sites of a prototype, from samples with crystals.

    Crystals that are no perovskites, or ordered as in no prototype, are left out, and so are those without an energy.
    The labels are the site columns, and of the lowest polymorph ``e_above_hull``, ``e_above_hull_is_bound`` (1 or 0,
    whether that is only an upper bound), ``formation_energy``, ``band_gap``, and ``a``: the edge of a cube with the
    volume of one ABX3; ``e_above_hull_cubic`` of the lowest cubic one; and ``tilted``, whether the lowest is tilted (1
    or 0), unless only the cubic one is known and it is not on the hull. Of polymorphs as low as each other, to a meV,
    the first counts. Where the energy is by a gain, ``e_above_hull_computed`` is that of the cubic crystal.

    Args:
        samples: With crystals.
        gains: Of compositions, see `gains`. Where only the cubic crystal was computed, what it gains makes its energies
            those of the lowest polymorph, not below the hull, and tells whether that is tilted.
    """
    found: dict[Sites, list[tuple[Sample, Perovskite]]] = {}
    for sample in samples:
        if sample.labels.get(ENERGY) is None:
            continue
        try:
            kind = find_perovskite(structure(sample.form, sample.content))
        except UserError:
            continue
        sites = None if kind is None else site_columns(kind)
        if kind is not None and sites is not None:
            found.setdefault(sites, []).append((sample, kind))
    gains = gains or {}
    return [_composition(sites, polymorphs, gains.get(_either_way(sites))) for sites, polymorphs in found.items()]


def site_columns(kind: Perovskite) -> Sites | None:
    """The site columns of a perovskite: A, B, X (three symbols), or A, B, B', X in rock-salt order; None for others."""
    a, b, x = (kind.elements(role) for role in "ABX")
    units = sum(b.values())
    if len(a) > 1:
        return None
    on_a = ("A", SYMBOLS[next(iter(a))])
    if kind.order == "single" and all(count % units == 0 for count in x.values()):
        symbols = tuple(SYMBOLS[z] for z, count in x.items() for _ in range(count // units))
        return on_a, ("B", SYMBOLS[next(iter(b))]), ("X", symbols)
    if kind.order == "rock-salt" and len(x) == 1:
        first, second = (SYMBOLS[z] for z in b)
        return on_a, ("B", first), ("B'", second), ("X", SYMBOLS[next(iter(x))])
    return None


def _composition(sites: Sites, polymorphs: list[tuple[Sample, Perovskite]], gain: Gain | None) -> Sample:
    sample, kind = min(polymorphs, key=lambda found: round(float(found[0].labels[ENERGY]), 3))
    cubic = [float(e.labels[ENERGY]) for e, k in polymorphs if k.family == "cubic"]
    energy, formation = float(sample.labels[ENERGY]), sample.labels.get("formation_energy")
    is_bound = len(cubic) == len(polymorphs) and energy > ON_HULL
    tilted, computed = None if is_bound else int(kind.family == "tilted"), None
    if is_bound and gain is not None:
        lowest = max(energy + min(gain.difference, 0.0), 0.0)
        formation = None if formation is None else float(formation) + lowest - energy
        energy, computed, is_bound, tilted = lowest, energy, False, _tilted(gain)
    labels: dict[str, Any] = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in sites},
        ENERGY: energy,
        BOUND: int(is_bound),
        COMPUTED: computed,
        "e_above_hull_cubic": min(cubic, default=None),
        "tilted": tilted,
        "formation_energy": formation,
        "band_gap": sample.labels.get("band_gap"),
        "a": kind.a,
    }
    return Sample(sample.id, labels, sample.form, sample.content)


def _tilted(gain: Gain) -> int | None:
    """Whether the lowest polymorph is tilted, 1 or 0; None where too little is gained to tell."""
    if gain.difference > CUBIC:
        return 0
    return None if gain.difference > TILTED else int(gain.tilted)
