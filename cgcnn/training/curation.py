"""Computed crystals as perovskite polymorphs of compositions: the lowest of each, and what is known of the cubic one.

Where only the cubic crystal was computed, and it does not lie on the hull, its energy is an upper bound of that of the
lowest polymorph: another may be lower. How much lower, a potential can tell: `Gain`.
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
_LEAST = 10  # crystals to each number that is fitted; of fewer nothing is said
_CORRECTED = {8, 9}  # O, F
_ROUNDS = 40


def agreeing(samples: Sequence[Sample], first: str, second: str) -> list[Sample]:
    """The samples without those whose two energies are of different calculations.

    Those that are no crystals or lack one of the energies stay, and so do all where there are too few to tell.

    Args:
        samples: Of one data set, with crystals.
        first: Label of an energy, eV/atom.
        second: Label of another.
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
_GASES = {"H": -3.3927, "N": -8.3365, "F": -1.9115, "Cl": -1.8485}  # eV/atom, of H2 … as the Materials Project has them


def on_mp2020(samples: Sequence[Sample]) -> list[Sample]:
    """Put formation energies with the Materials Project's corrections before 2020 on the scale of 2020.

    Samples without a formation energy stay as they are; where there is one and no crystal, it is left out.

    Args:
        samples: Of one data set, with crystals.
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
    """Work out how much higher a formation energy is before the Materials Project's corrections of 2020, eV/atom.

    Both tables of corrections are pymatgen's. The raw energies cancel, but for those of H2, N2, F2 and Cl2, which the
    older corrections replace. Oxygen counts as oxide, sulphur as sulphide: no perovskite has it otherwise.

    Args:
        formula: Symbol → number of atoms.
    """
    units = gcd(*formula.values())
    return _legacy_minus_2020(tuple(sorted((symbol, count // units) for symbol, count in formula.items())))


@dataclass(frozen=True)
class _Corrections:
    """Tables of corrections, eV an atom of the element.

    Attributes:
        anions: Symbol → correction where it is an anion, of 2020.
        oxide, sulphide: Those before.
        gases: Symbol → energy of the gas, before.
        mixing: For both, the most electronegative element → metal → correction of GGA+U.
    """

    anions: Mapping[str, float]
    oxide: float
    sulphide: float
    gases: Mapping[str, float]
    mixing: tuple[Mapping[str, Mapping[str, float]], Mapping[str, Mapping[str, float]]]


@cache
def _corrections() -> _Corrections:
    from pymatgen.entries import compatibility  # a second

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the older ones are old is what they are here for
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
    """(2 * 101,) the shares of the elements of a crystal, in the second half if it is an oxide or a fluoride."""
    try:
        counts = Counter(structure(sample.form, sample.content).atomic_numbers)
    except UserError:
        return None
    row = np.zeros((2, MAX_Z + 1))
    for number, count in counts.items():
        row[int(bool(_CORRECTED & counts.keys())), number] = count / counts.total()
    return row.ravel()


def _residual(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(k,) how far numbers are off the sum over columns that fits most of them; zeros where there are too few.

    The sum has the least absolute error, by repeated weighted least squares.
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
