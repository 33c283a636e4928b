"""What a run holds as a whole: distributions and maps, gathered block by block in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z
from screening.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

STEP = 0.02
"""Width of the histogram's bins, eV/atom."""
LOWEST, HIGHEST = -1.0, 5.0
"""Its range, eV/atom; what lies outside counts in the first or the last bin."""

Rows = Mapping[str, np.ndarray]


def _no_energies() -> NDArray[np.float64]:
    return np.full((MAX_Z + 1, MAX_Z + 1), np.inf)


@dataclass
class Survey:
    """Counts and extremes of the scored candidates of a run.

    Attributes:
        threshold: Energy above hull, eV/atom, up to which a candidate counts as stable.
        pair: Columns of `species` whose elements make the map: A and B, or B and B'; empty without a map.
        scored: How many candidates have a prediction.
        below: How many of them are predicted at or below the threshold.
        expected: The sum of their `p_stable`.
        histogram: Candidates by energy above hull, in bins of `STEP` from `LOWEST` on.
        lowest: (101, 101) lowest energy above hull of a candidate with such a pair that is near the model's training;
            infinite where there is none.
    """

    threshold: float
    pair: tuple[int, ...]
    scored: int = 0
    below: int = 0
    expected: float = 0.0
    histogram: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(round((HIGHEST - LOWEST) / STEP), dtype=np.int64)
    )
    lowest: NDArray[np.float64] = field(default_factory=_no_energies)

    def watch(self, blocks: Iterable[tuple[int, Rows]]) -> Iterator[tuple[int, Rows]]:
        """The blocks as they are, each taken note of on its way."""
        for start, rows in blocks:
            self._add({name: values[rows["status"] == Status.OK] for name, values in rows.items()})
            yield start, rows

    def _add(self, rows: Rows) -> None:
        energy = rows["e_above_hull"].astype(np.float64)
        self.scored += len(energy)
        self.below += int((energy <= self.threshold).sum())
        self.expected += float(rows["p_stable"].sum(dtype=np.float64))
        bins = np.floor((energy - LOWEST) / STEP).astype(np.int64).clip(0, len(self.histogram) - 1)
        self.histogram += np.bincount(bins, minlength=len(self.histogram))
        if self.pair:
            near = rows["in_domain"] & ~(rows["domain_distance"] > 0)
            first, second = (rows["species"][near, column] for column in self.pair)
            np.minimum.at(self.lowest, (first, second), energy[near])
