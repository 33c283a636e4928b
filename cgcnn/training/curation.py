"""Curate labels: energies of one calculation on one scale, and the lowest perovskite polymorph of each composition.

A formation energy is a total energy minus the energies of the elements. Over a data set, the two therefore differ by a
sum over the elements and by the corrections of oxides and fluorides, which are such sums too. If a crystal is off this
sum, its two energies come from different calculations, and its energy above hull may come from either.

The Materials Project changed its corrections in 2020, and with them every formation energy: by 0.32 eV/atom for a
bromide ABX3. `on_mp2020` puts older ones on the newer scale.

If only the cubic polymorph of a composition was computed, and it is not on the hull, its energy is an upper bound:
another polymorph may be lower. `Gain` holds how much lower, as a potential predicts.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.crystal import structure
from cgcnn.data.samples import Sample
from cgcnn.elements import MAX_Z, SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.perovskite import find_perovskite

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.perovskite import Perovskite

    Sites = tuple[tuple[str, object], ...]


TOLERANCE = 0.02  # eV/atom; of the Materials Project's perovskites 97 in 100 are within 0.0005
_LEAST = 10  # crystals for each fitted number; with fewer, all crystals are kept
_CORRECTED = {8, 9}  # O, F
_ROUNDS = 40


def agreeing(samples: Sequence[Sample], first: str, second: str) -> list[Sample]:
    """Drop the samples whose two energies come from different calculations.

    Samples that are no crystals or lack an energy are kept. If there are too few crystals for the fit, all are kept.

    Args:
        samples: Samples of one data set, with crystals.
        first: Label of an energy in eV/atom.
        second: Label of another energy in eV/atom.
    """
    told = [i for i, s in enumerate(samples) if s.labels.get(first) is not None and s.labels.get(second) is not None]
    shares = [_element_shares(samples[i]) for i in told]
    told = [i for i, row in zip(told, shares, strict=True) if row is not None]
    if not told:
        return list(samples)
    x = np.stack([row for row in shares if row is not None])  # (k, 2 * 101)
    y = np.array([float(samples[i].labels[first]) - float(samples[i].labels[second]) for i in told])
    off = np.abs(_residual(x, y)) > TOLERANCE
    wrong = {i for i, is_off in zip(told, off.tolist(), strict=True) if is_off}
    return [sample for i, sample in enumerate(samples) if i not in wrong]


FORMATION = "formation_energy"
_GASES = {
    "H": -3.3927,
    "N": -8.3365,
    "F": -1.9115,
    "Cl": -1.8485,
}  # eV/atom of H2, N2, F2, Cl2 in the Materials Project


def on_mp2020(samples: Sequence[Sample]) -> list[Sample]:
    """Put formation energies with the Materials Project's corrections before 2020 on the scale of 2020.

    Samples without a formation energy are kept as they are. Without a crystal, the formation energy is dropped.

    Args:
        samples: Samples of one data set, with crystals.
    """
    return [_on_mp2020(sample) for sample in samples]


def _on_mp2020(sample: Sample) -> Sample:
    if sample.labels.get(FORMATION) is None:
        return sample
    try:
        symbols = structure(sample.form, sample.content).atomic_numbers
    except UserError:
        return replace(sample, labels=sample.labels | {FORMATION: None})
    shift = legacy_minus_2020(Counter(SYMBOLS[z] for z in symbols))
    return replace(sample, labels=sample.labels | {FORMATION: float(sample.labels[FORMATION]) - shift})


def legacy_minus_2020(formula: Mapping[str, int]) -> float:
    """Return the formation energy before the Materials Project's corrections of 2020 minus the one after, in eV/atom.

    Both tables of corrections are pymatgen's. The raw energies cancel, except those of H2, N2, F2 and Cl2, which the
    older corrections replace. Oxygen counts as oxide and sulphur as sulphide, as in every perovskite.

    Args:
        formula: Symbol → number of atoms.
    """
    units = gcd(*formula.values())
    return _legacy_minus_2020(tuple(sorted((symbol, count // units) for symbol, count in formula.items())))


@dataclass(frozen=True)
class _Corrections:
    """Tables of corrections, in eV per atom of the element.

    Attributes:
        anions: Symbol → correction of an anion, since 2020.
        oxide, sulphide: Corrections before 2020.
        gases: Symbol → energy of the gas, before 2020.
        mixing: Most electronegative element → metal → correction of GGA+U, before and since 2020.
    """

    anions: Mapping[str, float]
    oxide: float
    sulphide: float
    gases: Mapping[str, float]
    mixing: tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]


@cache
def _corrections() -> _Corrections:
    from pymatgen.entries import compatibility  # takes a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that the older corrections are old
        before: dict[str, Any] = {}
        for part in compatibility.MaterialsProjectCompatibility().corrections:
            before |= vars(part)
        now = compatibility.MaterialsProject2020Compatibility()
    return _Corrections(
        anions=now.comp_correction,
        oxide=before["oxide_correction"]["oxide"],
        sulphide=before["sulfide_correction"]["sulfide"],
        gases={symbol: before["cpd_energies"][f"{symbol}2"] for symbol in _GASES},
        mixing=(before["u_corrections"], now.u_corrections),
    )


@cache
def _legacy_minus_2020(formula: tuple[tuple[str, int], ...]) -> float:
    from pymatgen.core.composition import Composition
    from pymatgen.core.periodic_table import Element

    table, counts = _corrections(), dict(formula)
    most = max(counts, key=lambda symbol: Element(symbol).X)
    guesses = Composition(counts).oxi_state_guesses(max_sites=-20)  # as the Materials Project finds its anions
    charges = guesses[0] if guesses else {}
    older, newer = (mixing.get(most, {}) for mixing in table.mixing)
    shift = 0.0
    for symbol, count in counts.items():
        is_anion = symbol == most or charges.get(symbol, 0) < 0
        before = {"O": table.oxide, "S": table.sulphide}.get(symbol, 0.0)
        now = table.anions["oxide"] if symbol == "O" else table.anions.get(symbol, 0.0) * is_anion
        element = table.gases[symbol] - _GASES[symbol] if symbol in _GASES else 0.0
        shift += count * (before + older.get(symbol, 0.0) - now - newer.get(symbol, 0.0) - element)
    return shift / sum(counts.values())


def _element_shares(sample: Sample) -> NDArray[np.float64] | None:
    """Return (2 * 101,) the shares of the elements of a crystal, in the second half for oxides and fluorides."""
    try:
        counts = Counter(structure(sample.form, sample.content).atomic_numbers)
    except UserError:
        return None
    row = np.zeros((2, MAX_Z + 1))
    for number, count in counts.items():
        row[int(bool(_CORRECTED & counts.keys())), number] = count / counts.total()
    return row.ravel()


def _residual(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (k,) the residuals of numbers from a linear fit to most of them; zeros if there are too few.

    The fit has the least absolute error, by iteratively reweighted least squares.
    """
    x = x[:, x.any(axis=0)]
    if len(y) < _LEAST * x.shape[1]:
        return np.zeros(len(y))
    weight, off = np.ones(len(y)), y
    for _ in range(_ROUNDS):
        normal = (x * weight[:, None]).T @ x + 1e-6 * np.eye(x.shape[1])
        off = y - x @ np.linalg.solve(normal, (x * weight[:, None]).T @ y)
        weight = 1 / np.maximum(np.abs(off), TOLERANCE / 10)
    return off


ENERGY = "e_above_hull"
BOUND = "e_above_hull_is_bound"
COMPUTED = "e_above_hull_computed"
ON_HULL = 1e-4  # eV/atom; a crystal on the hull has no lower polymorph
CUBIC, TILTED = -0.001, -0.002
"""Gains in eV/atom: above CUBIC a composition counts as cubic, below TILTED as tilted."""


@dataclass(frozen=True)
class Gain:
    """The gain of the lowest relaxed start of a composition over its relaxed cubic crystal.

    Attributes:
        difference: Energy of the start minus that of the cubic crystal in eV/atom; negative if it is lower.
        tilted: Whether the octahedra are tilted.
    """

    difference: float
    tilted: bool


def gains(rows: Iterable[Sample]) -> dict[Sites, Gain]:
    """Read the gains of compositions from a table of relaxed starts, one row for each start.

    The columns are A, B, B' (empty for ABX3), X, ``difference`` (eV/atom) and ``became``, the result of the perovskite
    test, such as "single tilted a-b+a-". Starts that became no perovskite are ignored; a composition without another
    start has no gain.

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
    """Return a key that is the same for both orders of B and B'."""
    named = dict(sites)
    if "B'" in named:
        named["B"], named["B'"] = sorted((str(named["B"]), str(named["B'"])))
    return tuple(sorted(named.items()))


def lowest_polymorphs(samples: Iterable[Sample], gains: Mapping[Sites, Gain] | None = None) -> list[Sample]:
    """Find the lowest perovskite polymorph of each composition; return a sample for each composition.

    Crystals without an energy are left out, as are crystals that are no perovskites or ordered as in no prototype.

    The labels are the site columns and, of the lowest polymorph, ``e_above_hull``, ``e_above_hull_is_bound`` (1 if that
    is only an upper bound, else 0), ``formation_energy``, ``band_gap`` and ``a``, the edge of a cube with the volume of
    one ABX3. ``e_above_hull_cubic`` is the energy of the lowest cubic polymorph. ``tilted`` is 1 or 0, or None if only
    the cubic polymorph is known and it is not on the hull. Of polymorphs within 1 meV/atom, the first counts. If a gain
    was applied, ``e_above_hull_computed`` is the energy of the cubic crystal.

    Args:
        samples: Samples with crystals.
        gains: Gains of compositions, see `gains`. If only the cubic crystal was computed, its gain is added to its
            energies, down to the hull at most, and says whether the lowest polymorph is tilted.
    """
    found: dict[Sites, list[tuple[Sample, Perovskite]]] = {}
    for sample in samples:
        if sample.labels.get(ENERGY) is None:
            continue
        try:
            kind = find_perovskite(structure(sample.form, sample.content))
        except UserError:
            continue
        sites = None if kind is None else perovskite_columns(kind)
        if kind is not None and sites is not None:
            found.setdefault(sites, []).append((sample, kind))
    gains = gains or {}
    return [_composition(sites, polymorphs, gains.get(_either_way(sites))) for sites, polymorphs in found.items()]


def perovskite_columns(kind: Perovskite) -> Sites | None:
    """Return the site columns of a perovskite: A, B, X (three symbols), or A, B, B', X; None for other orders."""
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
    """Return 1 if the lowest polymorph is tilted, 0 if it is cubic, None if the gain is too small to decide."""
    if gain.difference > CUBIC:
        return 0
    return None if gain.difference > TILTED else int(gain.tilted)
