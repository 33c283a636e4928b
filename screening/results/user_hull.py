"""Candidates against the user's own competing phases: notes that say how far above their hull each is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cgcnn.errors import UserError
from cgcnn.models.card import read_card
from screening.chemistry.competing import count_atoms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.model import Model
    from screening.chemistry.competing import Distance, Phases
    from screening.plan import ModelReference

TARGET = "formation_energy"
ABOVE = "e_above_user_hull"


@dataclass(frozen=True)
class UserHull:
    """The distance of candidates from a hull of the user's, by the formation energies that the model predicts.

    They are notes on candidates, see `screening.candidates.notes`. The model is asked when a ranking is made, so that a
    run need not keep them.

    Attributes:
        phases: Of the hull.
        model: Of the run.
    """

    phases: Phases
    model: ModelReference
    columns: ClassVar[tuple[str, ...]] = (TARGET, ABOVE, "decomposition")

    def check(self) -> None:
        """Refuse a model that predicts no formation energy.

        Raises:
            UserError: Naming it, and one that does.
        """
        if TARGET not in read_card(self.model.path).settings.targets:
            raise UserError(
                f"model {self.model.name}: predicts no formation energy to compare with `competing_phases`. Screen "
                "with mp, which does."
            )

    def texts(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, list[str]]:
        """Predicted formation energy, distance from the hull (both eV/atom) and decomposition of n rows."""
        energies = self._energies(rows["species"], prototype)
        found = list(self._distances(rows["species"], energies, prototype))
        return {
            TARGET: [f"{energy:.5f}" for energy in energies],
            ABOVE: [f"{distance.energy:.5f}" for distance in found],
            "decomposition": [distance.decomposition for distance in found],
        }

    def above(self, species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.float32]:
        """(n,) distances of species (n, n_sites) from the hull, eV/atom; about 2 ms each."""
        found = self._distances(species, self._energies(species, prototype), prototype)
        return np.array([distance.energy for distance in found], dtype=np.float32)

    def _energies(self, species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.float32]:
        """(n,) predicted formation energies, eV/atom."""
        return self._loaded.on(prototype.name).predict(species)[TARGET][0]

    def _distances(
        self, species: NDArray[np.uint8], energies: NDArray[np.float32], prototype: Prototype
    ) -> Iterator[Distance]:
        for row, energy in zip(species, energies.tolist(), strict=True):
            yield self.phases.distance(count_atoms(row[list(prototype.atoms)].tolist()), energy)

    @cached_property
    def _loaded(self) -> Model:
        """The model of the run.

        Raises:
            UserError: It is not there any more, or another one is.
        """
        from cgcnn.models.files import load

        model = load(self.model.path)
        if model.digest != self.model.digest:
            raise UserError(f"{self.model.path}: not the model that made this run any more. Put that one back.")
        return model
