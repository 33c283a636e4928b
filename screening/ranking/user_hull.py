"""Candidates against competing phases, the user's own or shipped: how far above their hull, and whether it compares."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cgcnn.data.composition import composition_keys, compositions
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import read_card
from cgcnn.models.domain import Domain
from screening.candidates.kind import Field
from screening.candidates.texts import array, strings
from screening.chemistry.competing import Distance, atoms_by_element, compare, ground_states
from screening.chemistry.entries import unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.card import Card
    from cgcnn.models.model import Model
    from screening.chemistry.competing import Phases
    from screening.chemistry.entries import Unit
    from screening.plan import ModelReference

TARGET = "formation_energy"
ABOVE = "e_above_user_hull"
BOUND = "hull_bound"
COMPETING = "competing"
CHECKED = 1000
"""Rows of a ranking that are checked against shipped phases by default: some 0.2 s."""
DOUBTFUL = 0.2
"""Bound, eV/atom, from which on competing phases contradict a candidate: of 17 compositions of the experimental lists
with a held-out energy up to 0.05 and a bound above this none is a perovskite; above 0.1, 21 of 58 are."""
STABLE = 0.03
"""Energy above hull, eV/atom, up to which a perovskite of the training counts as the lowest of its composition."""
SHARED = 5000
"""Most compounds of a training to compare."""
SCALES = {35: 0.320, 34: 0.283, 52: 0.253, 53: 0.227, 51: 0.115, 16: -0.096}
"""Anion, by atomic number -> eV/atom by which formation energies of ABX3 and A2BB'X6 with the legacy corrections lie
above those with the ones of 2020."""


@dataclass(frozen=True)
class UserHull:
    """Notes on how far candidates are from a hull of the user's, by the formation energies that the model predicts.

    The ranking asks the model, so that runs need not store them.

    Attributes:
        phases: The competing phases that make the hull.
        model: The model of the run.
    """

    phases: Phases
    model: ModelReference
    columns: ClassVar[tuple[Field, ...]] = (
        Field(TARGET, "number", "eV/atom", "predicted formation energy", 5),
        Field(ABOVE, "number", "eV/atom", "predicted energy above the hull of the given competing phases", 5),
        Field(
            "decomposition",
            "text",
            description="the competing phases that it would decompose into",
        ),
    )

    def check(self) -> None:
        """Refuse a model that predicts no formation energy.

        Raises:
            UserError: The model predicts none; the message names one that does.
        """
        if TARGET not in read_card(self.model.path).settings.targets:
            raise UserError(
                f"model {self.model.name}: predicts no formation energy to compare with `competing_phases`. Screen "
                "with mp, which does."
            )

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:
        """Compute formation energy, distance from the hull (both eV/atom) and decomposition of n rows.

        The last two are null for what the phases do not cover.
        """
        energies = self._energies(rows["species"], prototype)
        found = list(self._distances(rows["species"], energies, prototype))
        above = [distance.energy if distance else math.nan for distance in found]
        return {
            TARGET: array(energies),
            ABOVE: array(np.array(above, dtype=np.float32)),
            "decomposition": strings([distance.decomposition if distance else "" for distance in found]),
        }

    def above(self, species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.float32]:
        """Compute distances of species (n, n_sites) from the hull: (n,), eV/atom, NaN where not covered; 2 ms each."""
        found = self._distances(species, self._energies(species, prototype), prototype)
        return np.array([distance.energy if distance else np.nan for distance in found], dtype=np.float32)

    def notes(self, species: Iterable[NDArray[np.uint8]]) -> list[str]:
        """Warn about the phases: what they do not cover, and energies that do not compare.

        Args:
            species: Those of all candidates, (n, n_sites) at a time.

        Raises:
            UserError: No candidate is covered.
        """
        counts: dict[tuple[int, ...], int] = {}
        for rows in species:
            sets, numbers = np.unique(np.sort(rows, axis=1), axis=0, return_counts=True)
            for row, number in zip(sets.tolist(), numbers.tolist(), strict=True):
                elements = tuple(sorted(set(row)))
                counts[elements] = counts.get(elements, 0) + number
        uncovered = self.phases.uncovered(counts)
        return [*self.phases.source.notes, *uncovered, *self._scale(set().union(*counts)), *self._training()]

    def _scale(self, elements: set[int]) -> Iterator[str]:
        """Compare the corrections of the file with those of the model, as far as they matter to the candidates."""
        card, source = read_card(self.model.path), self.phases.source
        model = scale_of(card)
        if not model:
            return
        theirs = f"formation energies of model {card.name} are those of GGA and GGA+U"
        if source.functional and "GGA" not in source.functional:
            yield f"{theirs}, the entries are {source.functional}: distances compare two functionals"
        elif source.scheme == "none":
            yield (
                f"{theirs} with the corrections of the Materials Project, the entries have none, which is some 0.4 "
                "eV/atom in an oxide: apply MaterialsProject2020Compatibility to them"
            )
        elif {model, source.scheme} == {"MP2020", "legacy"} and (named := elements & SCALES.keys()):
            apart = ", ".join(f"{SCALES[z]:+.2f} with {SYMBOLS[z]}" for z in sorted(named))
            yield (
                f"{theirs} with {model} corrections, the entries have {source.scheme} ones; legacy energies differ "
                f"from MP2020 by {apart} eV/atom in ABX3 and A2BB'X6"
            )
        if model != "legacy" or source.scheme in {"MP2020", "none", "some"}:
            yield from self.phases.compare_known()

    def _training(self) -> Iterator[str]:
        """Compare formation energies in the file with those of compounds of the training that are on its hull.

        The model stands in for its labels, which it does not store; on its training it is off by a few hundredths.
        """
        domain = self._loaded.domain
        if not isinstance(domain, Domain) or not len(domain.labels):
            return
        own = dict(zip(self.phases.units, self.phases.formation_energies.tolist(), strict=True))
        pairs: list[tuple[Unit, float, float]] = []
        for name in self._loaded.card.prototypes:
            prototype = PROTOTYPES[name]
            rows = compositions(domain.known, len(prototype.sites))
            keys = composition_keys(rows)
            rows = rows[(domain.labels_of(keys) <= STABLE) & ~domain.bounds_of(keys)]
            units = [unit_of(Counter(row)) for row in rows[:, list(prototype.atoms)].tolist()]
            both = [i for i, unit in enumerate(units) if np.isfinite(own.get(unit, np.nan))][:SHARED]
            if both:
                energies = self._energies(rows[both], prototype).tolist()
                pairs += [(units[i], own[units[i]], energy) for i, energy in zip(both, energies, strict=True)]
        yield from compare(pairs, f"model {self.model.name} learned")

    def _energies(self, species: NDArray[np.uint8], prototype: Prototype) -> NDArray[np.float32]:
        """Predict formation energies: (n,), eV/atom."""
        return self._loaded.on(prototype.name).predict(species)[TARGET][0]

    def _distances(
        self, species: NDArray[np.uint8], energies: NDArray[np.float32], prototype: Prototype
    ) -> Iterator[Distance | None]:
        counts = atoms_by_element(species[:, list(prototype.atoms)])
        covered = np.array([not self.phases.missing(row) for row in counts], dtype=np.bool_)
        hulls = iter(self.phases.hulls(counts[covered]))
        for has, energy in zip(covered.tolist(), energies.tolist(), strict=True):
            if has:
                hull = next(hulls)
                yield Distance(energy - hull.energy, hull.products)
            else:
                yield None

    @cached_property
    def _loaded(self) -> Model:
        """The model of the run.

        Raises:
            UserError: The model is gone, or was replaced.
        """
        from cgcnn.models.files import load

        model = load(self.model.path)
        if model.digest != self.model.digest:
            raise UserError(f"{self.model.path}: no longer the model that made this run. Put that one back.")
        return model


class HullCheck(UserHull):
    """How far candidates are at least above the hull, by phases of the Materials Project that ship with the package.

    A lower bound: these phases are the ones that were known in 2019, and only more of them would raise it.
    """

    columns: ClassVar[tuple[Field, ...]] = (
        Field(BOUND, "number", "eV/atom", "least energy above hull that known competing phases leave", 5),
        Field(COMPETING, "text", description="those of these phases that have the lowest energy together"),
    )

    def columns_of(self, rows: Mapping[str, np.ndarray], prototype: Prototype) -> dict[str, pa.Array]:
        """Give the bound (eV/atom) of n rows, and the phases; null for elements of which none are known."""
        found = super().columns_of(rows, prototype)
        return {BOUND: found[ABOVE], COMPETING: found["decomposition"]}


@lru_cache(maxsize=1)
def hull_check(model: ModelReference) -> HullCheck | None:
    """Return the check of a model's candidates.

    None where it is gone, or its energies are not on the scale of the phases.
    """
    try:
        card = read_card(model.path)
    except UserError:
        return None
    there = card.digest == model.digest and TARGET in card.settings.targets and scale_of(card) == "MP2020"
    return HullCheck(ground_states(), model) if there else None


def scale_of(card: Card) -> str:
    """Find out whose corrections a model's formation energies have: MP2020 or legacy; empty if they are not MP's."""
    target = next((target.description for target in card.targets if target.name == TARGET), "")
    said = f"{target} {card.label} {card.hull} {card.source}"
    if "2020" in said:
        return "MP2020"
    return "legacy" if "legacy" in said or "EVAPD" in said else "MP" if "Materials Project" in said else ""
