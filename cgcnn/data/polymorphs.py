"""Computed crystals as perovskite polymorphs of compositions: the lowest of each, and what is known of the cubic one.

Where only the cubic crystal was computed, and it does not lie on the hull, its energy is an upper bound of that of the
lowest polymorph: another may be lower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cgcnn.data.crystal import structure
from cgcnn.data.sample import Sample
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cgcnn.graphs.perovskite import Perovskite

    Sites = tuple[tuple[str, object], ...]

ENERGY = "e_above_hull"
BOUND = "e_above_hull_is_bound"
ON_HULL = 1e-4  # eV/atom; nothing lies lower than what lies here


def lowest_polymorphs(samples: Iterable[Sample]) -> list[Sample]:
    """A sample for each assignment of elements to the sites of a prototype, from samples with crystals.

    Crystals that are no perovskites, or ordered as in no prototype, are left out, and so are those without an energy.
    The labels are the site columns, and of the lowest polymorph ``e_above_hull``, ``e_above_hull_is_bound`` (1 or 0,
    whether that is only an upper bound), ``formation_energy``, ``band_gap``, and ``a``: the edge of a cube with the
    volume of one ABX3; ``e_above_hull_cubic`` of the lowest cubic one; and ``tilted``, whether the lowest is tilted (1
    or 0), unless only the cubic one is known and it is not on the hull. Of polymorphs as low as each other, to a meV,
    the first counts.
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
    return [_composition(sites, polymorphs) for sites, polymorphs in found.items()]


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


def _composition(sites: Sites, polymorphs: list[tuple[Sample, Perovskite]]) -> Sample:
    sample, kind = min(polymorphs, key=lambda found: round(float(found[0].labels[ENERGY]), 3))
    cubic = [float(e.labels[ENERGY]) for e, k in polymorphs if k.family == "cubic"]
    energy = float(sample.labels[ENERGY])
    is_bound = len(cubic) == len(polymorphs) and energy > ON_HULL
    labels: dict[str, Any] = {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in sites},
        ENERGY: energy,
        BOUND: int(is_bound),
        "e_above_hull_cubic": min(cubic, default=None),
        "tilted": None if is_bound else int(kind.family == "tilted"),
        "formation_energy": sample.labels.get("formation_energy"),
        "band_gap": sample.labels.get("band_gap"),
        "a": kind.a,
    }
    return Sample(sample.id, labels, sample.form, sample.content)
