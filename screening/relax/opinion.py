"""Relaxations of ranked candidates, compared with the model: the lowest start, what it became, who agrees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.elements import SYMBOLS
from screening.candidates.kind import UNTILTED
from screening.chemistry.competing import count_atoms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from screening.chemistry.competing import Distance, Phases
    from screening.relax.crystal import Relaxed

FORMULA_UNIT = 5
"""Atoms of ABX3, or of half the formula of a double perovskite."""
FEWEST = 4
"""Fewest candidates for a rank correlation."""


@dataclass(frozen=True)
class Opinion:
    """The relaxations of a candidate, beside what the model predicted.

    Attributes:
        rank: Rank in the ranking, from 1.
        row: Row of the ranking: `index`, `formula`, sites or id, and the model's columns.
        relaxations: Results of all starts, in their order.
        phases: The user's competing phases, if there are any.
    """

    rank: int
    row: Mapping[str, Any] = field(compare=False)
    relaxations: tuple[Relaxed, ...]
    phases: Phases | None = field(default=None, compare=False)

    @property
    def won(self) -> Relaxed | None:
        """The lowest in energy of the relaxed starts; if none is relaxed, of those that have an energy."""
        known = [found for found in self.relaxations if found.energy_per_atom is not None]
        relaxed = [found for found in known if found.converged]
        return min(relaxed or known, key=lambda found: found.energy_per_atom or 0.0, default=None)

    @property
    def reason(self) -> str:
        """Why there is no relaxed structure; empty if there is one."""
        if self.won is not None:
            return self.won.reason
        return self.relaxations[0].reason if self.relaxations else "not relaxed yet"

    @property
    def a(self) -> float:
        """Edge of a cube with the volume of one ABX3 of the lowest result, Å; NaN if that is no perovskite."""
        won = self.won
        return math.cbrt(FORMULA_UNIT * (won.volume or math.nan)) if won and won.became else math.nan

    @property
    def volume_change(self) -> float:
        """Relative change of volume against the predicted one (for a structure, the given one); NaN if unknown."""
        if self.won is None or self.won.volume is None:
            return math.nan
        predicted = float(self.row.get("a_angstrom", math.nan)) ** 3 / FORMULA_UNIT
        return self.won.volume / (self.won.start_volume if math.isnan(predicted) else predicted) - 1

    @property
    def gain(self) -> float:
        """Energy by which the lowest result is below that of the untilted start, eV/atom; NaN without one."""
        flat = [found for found in self.relaxations if found.tilts == UNTILTED and found.converged]
        if not flat or self.won is None or not self.won.converged:
            return math.nan
        return (flat[0].energy_per_atom or math.nan) - (self.won.energy_per_atom or math.nan)

    @property
    def above(self) -> Distance | None:
        """Distance of the lowest result from the hull of the competing phases, by the calculator's energy.

        None if the phases do not cover it.
        """
        if self.phases is None or self.won is None or self.won.energy_per_atom is None:
            return None
        counts = count_atoms(numbers_of(self.won))
        if self.phases.missing(counts):
            return None
        return self.phases.distance(counts, self.phases.formation_energy(counts, self.won.energy_per_atom))


@dataclass(frozen=True)
class Agreement:
    """How well relaxations and the model agree on one quantity.

    Attributes:
        what: Name of the quantity.
        figure: A rank correlation, a mean difference or a count, in words.
        count: Number of candidates compared.
    """

    what: str
    figure: str
    count: int


def compare(opinions: Sequence[Opinion]) -> list[Agreement]:
    """Compare relaxations with the model, on each quantity that both speak of.

    Energies of different compositions do not compare without competing phases. Lattice constants do, and whether the
    octahedra tilt, and the energy gained by tilting; with competing phases, so do energies above their hull, and the
    order of the ranking.
    """
    found = [_lattice(opinions), _tilting(opinions), _gain(opinions), _above(opinions)]
    return [agreement for agreement in found if agreement is not None]


def _pairs(opinions: Sequence[Opinion], of: Callable[[Opinion], tuple[float, float]]) -> np.ndarray:
    """Pair what the model and the relaxation say, (n, 2), for candidates on which both say something."""
    pairs: np.ndarray = np.array([of(opinion) for opinion in opinions], dtype=float).reshape(-1, 2)
    kept: np.ndarray = pairs[np.isfinite(pairs).all(axis=1)]
    return kept


def _lattice(opinions: Sequence[Opinion]) -> Agreement | None:
    pairs = _pairs(opinions, lambda o: (float(o.row.get("a_angstrom", math.nan)), o.a))
    if not len(pairs):
        return None
    off = 100 * float(np.abs(pairs[:, 0] / pairs[:, 1] - 1).mean())
    return Agreement("lattice constant", f"{off:.1f} % apart on average{_correlation(pairs)}", len(pairs))


def _tilting(opinions: Sequence[Opinion]) -> Agreement | None:
    pairs = _pairs(
        opinions,
        lambda o: (
            float(o.row.get("p_tilted", math.nan)),
            float(o.won.is_tilted) if o.won and o.won.became else math.nan,
        ),
    )
    if not len(pairs):
        return None
    same = int(((pairs[:, 0] >= 0.5) == (pairs[:, 1] > 0)).sum())
    return Agreement("tilted or not", f"the same {same} times", len(pairs))


def _gain(opinions: Sequence[Opinion]) -> Agreement | None:
    def of(opinion: Opinion) -> tuple[float, float]:
        cubic = float(opinion.row.get("e_above_hull_cubic", math.nan))
        return max(cubic - float(opinion.row["e_above_hull"]), 0.0), opinion.gain

    pairs = _pairs(opinions, of)
    if not len(pairs):
        return None
    off = float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())
    return Agreement("gain by tilting", f"{off:.3f} eV/atom apart on average{_correlation(pairs)}", len(pairs))


def _above(opinions: Sequence[Opinion]) -> Agreement | None:
    def of(opinion: Opinion) -> tuple[float, float]:
        return float(opinion.row["e_above_hull"]), opinion.above.energy if opinion.above else math.nan

    pairs = _pairs(opinions, of)
    if not len(pairs):
        return None
    off = float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())
    return Agreement("energy above hull", f"{off:.3f} eV/atom apart on average{_correlation(pairs)}", len(pairs))


def numbers_of(found: Relaxed) -> list[int]:
    """List the atomic numbers of a relaxed structure, which is never disordered."""
    return [SYMBOLS.index(site["species"][0]["element"]) for site in (found.structure or {})["sites"]]


def _correlation(pairs: np.ndarray) -> str:
    """Write Spearman's rank correlation; nothing for too few candidates, or ones that are all alike."""
    if len(pairs) < FEWEST or (np.ptp(pairs, axis=0) == 0).any():
        return ""
    from scipy.stats import spearmanr

    return f", Spearman's rho {spearmanr(*pairs.T).statistic:.2f}"
