"""Trained models: an ensemble with its card and domain, the same on one prototype, and a student that is faster."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np
import safetensors.numpy

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.arrays import digest
from cgcnn.models.deviations import SupportDeviation, calibrated, features, mean_of, possible, spread_of, with_odds
from cgcnn.models.domain import AnionSets, Domain, Likeness, Support, anion_shares, fingerprint
from cgcnn.network.choice import choose_kernel, for_candidates
from cgcnn.network.kernel import covered, element_table
from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.models.card import Calibration, Card
    from cgcnn.network.kernel import Kernel, Outputs, Weights


Estimate = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
"""Mean over the members and standard deviation, (n,) each."""


class Model:
    """A trained model; `on` turns it into one for the candidates of a prototype.

    Attributes:
        card: What it predicts, from what, and how well.
        members: The tensors of networks that differ by their seed; the prediction is their mean.
        domain: What it was trained on; None for models of structures that do not know.
        device: The device that predicts, as torch names it, such as "cpu".
        digest: Identifies the model.
    """

    def __init__(
        self, card: Card, members: Sequence[Weights], domain: Domain | Likeness | None = None, device: str = "cpu"
    ) -> None:
        self.members, self.domain, self.device = tuple(members), domain, device
        self.digest = digest(card, self.members, domain)
        self.card = card.model_copy(update={"digest": self.digest, "members": len(self.members)})

    @property
    def settings(self) -> Settings:
        """The shape of the networks and of the graphs."""
        return self.card.settings

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel that predicts graphs; its name and version identify the bits of predictions."""
        return choose_kernel(self.settings, self.members, self.device)

    @cached_property
    def kernel_for_candidates(self) -> Kernel:
        """The kernel that predicts candidates of prototypes."""
        return for_candidates(self.kernel)

    def to(self, device: str) -> Model:
        """Return the same model, predicting on another device such as "cuda"."""
        return Model(self.card, self.members, self.domain, device)

    def on(self, prototype: str) -> PrototypeModel:
        """Return the model for candidates of a prototype.

        Raises:
            UserError: The model was not trained on that prototype.
        """
        if not isinstance(self.domain, Domain) or prototype not in self.card.prototypes:
            known = ", ".join(self.card.prototypes) or "structures"
            raise UserError(f"model {self.card.name}: trained for {known}, not {prototype}")
        return PrototypeModel(self, PROTOTYPES[prototype], self.domain)

    def predict(self, batch: GraphBatch) -> dict[str, Estimate]:
        """Predict every target: the mean over the members and the standard deviation, (n,) float32 each, in its unit.

        The deviation is the members' spread, calibrated where the card says how, but not by element.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found in the estimates
            return self.estimates(self.kernel.predict(batch))

    def predict_graphs(self, graphs: Sequence[CrystalGraph]) -> dict[str, Estimate]:
        """Predict graphs, see `predict`."""
        return self.predict(GraphBatch.of_graphs(graphs))

    def estimates(self, outputs: Outputs) -> dict[str, Estimate]:
        """Turn outputs (members, n, T) of the kernel into estimates, see `predict`.

        The odds of a yes are calibrated where the card says how; a mixture uses the members' own odds. What is not
        `possible` is NaN.
        """
        centre, spread = mean_of(outputs), spread_of(outputs, self.settings)  # (n, T)
        for calibration in self.card.calibrations:
            column = self.settings.targets.index(calibration.target)
            spread[:, column] = calibrated(spread[:, column], calibration.scale, calibration.floor)
        for odds in self.card.odds:
            column = self.settings.targets.index(odds.target)
            centre[:, column] = with_odds(centre[:, column], odds.power, odds.factor)
        found = {name: (centre[:, i].copy(), spread[:, i].copy()) for i, name in enumerate(self.settings.targets)}
        return self.possible(found)

    def possible(self, found: dict[str, Estimate]) -> dict[str, Estimate]:
        """Drop estimates that are impossible, see `cgcnn.models.deviations.possible`."""
        units = {target.name: target.unit for target in self.card.targets}
        return {name: possible(mean, spread, units.get(name, "")) for name, (mean, spread) in found.items()}

    def structural_distance(self, graphs: GraphBatch) -> NDArray[np.float32]:
        """Return how far crystals are from the training, (n,); unlike it beyond 1, NaN if the model does not know.

        See `cgcnn.models.domain.Likeness`.
        """
        if not isinstance(self.domain, Likeness):
            return np.full(len(graphs), np.nan, dtype=np.float32)
        return self.domain.distance(fingerprint(graphs), self.kernel.pooled(graphs))

    @cached_property
    def support(self) -> Support:
        """How many training rows have an element on a role with an anion; for models of prototypes."""
        return Support.of(self._known, self._prototypes)

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """(101,) whether the model has features of an element."""
        return covered(self.members[0])

    @cached_property
    def anion_sets(self) -> AnionSets:
        """The sets of anions in the training; none for models of structures."""
        return AnionSets(element_table(self.members), self._prototypes, self._known)

    @property
    def _known(self) -> NDArray[np.int64]:
        return self.domain.known if isinstance(self.domain, Domain) else np.empty(0, dtype=np.int64)

    @property
    def _prototypes(self) -> list[Prototype]:
        return [PROTOTYPES[name] for name in self.card.prototypes]


@dataclass(frozen=True, eq=False)
class PrototypeModel:
    """A model for candidates of one prototype, from their elements alone.

    Attributes:
        model: The model that predicts.
        prototype: One of the model's prototypes.
        domain: What the model was trained on.
    """

    model: Model
    prototype: Prototype
    domain: Domain

    @property
    def card(self) -> Card:
        """The card of the model."""
        return self.model.card

    @property
    def settings(self) -> Settings:
        """The settings of the model."""
        return self.model.settings

    @property
    def digest(self) -> str:
        """The digest of the model."""
        return self.model.digest

    @property
    def kernel(self) -> Kernel:
        """The kernel of the model for candidates."""
        return self.model.kernel_for_candidates

    def to(self, device: str) -> PrototypeModel:
        """Return the same model, predicting on another device such as "cuda"."""
        return PrototypeModel(self.model.to(device), self.prototype, self.domain)

    @overload
    def predict(self, species: NDArray[np.uint8], /) -> dict[str, Estimate]: ...

    @overload
    def predict(self, **elements: str | Iterable[str]) -> pd.DataFrame: ...

    def predict(  # type: ignore[misc]  # a role cannot be named as a positional argument
        self, species: NDArray[np.uint8] | None = None, /, **elements: str | Iterable[str]
    ) -> dict[str, Estimate] | pd.DataFrame:
        """Predict candidates.

        Args:
            species: (n, n_sites) atomic numbers in the order of the prototype's sites; equal-role sites in any order.
            elements: Instead, the symbols of each role's elements, such as ``A="Cs", B=["Ag", "Bi"], X="Cl"``.

        Returns:
            Given species, the mean and the standard deviation of every target, (n,) float32 each, as from
            `Model.predict`; the elements also widen or narrow the deviation where the card says how. Given elements, a
            pandas table with a row for each candidate (see `Prototype.candidates`): the sites; each target in its unit
            and its deviation (``a``, ``a_std``); ``in_domain``; ``known``. Units are in ``attrs["units"]``.

        Raises:
            UserError: The sites do not fit, or an element has no features.
        """
        if species is None:
            return self._table(self.prototype.candidates(elements))
        return self.predict_cells(*self.cells(species))

    def _table(self, species: NDArray[np.uint8]) -> pd.DataFrame:
        """Tabulate candidates with everything the model says about them."""
        import pandas as pd

        symbols = np.array(SYMBOLS)[species]  # (n, n_sites)
        table = pd.DataFrame(dict(zip(self.prototype.sites, symbols.T, strict=True)))
        for target, (mean, std) in self.predict(species).items():
            table[target], table[f"{target}_std"] = mean, std
        table["in_domain"], table["known"] = self.in_domain(species), self.known(species)
        table.attrs |= {"units": {target.name: target.unit for target in self.card.targets}, "model": self.card.name}
        return table

    def cells(self, species: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return what the graphs of candidates are made from; pass it to `predict_cells`, here or in another process.

        Args:
            species: (n, n_sites) atomic numbers; equal-role sites in any order.

        Returns:
            Canonical species (n, n_sites) and reference lattice constants (n,), Å.

        Raises:
            UserError: The sites do not fit, or an element has no features.
        """
        rows = self.prototype.canonical(self._checked(species))
        return rows, self.domain.reference_lattice(self.prototype, rows)

    def predict_cells(self, rows: NDArray[np.uint8], a: NDArray[np.float32]) -> dict[str, Estimate]:
        """Predict candidates as `cells` describes them: canonical species (n, n_sites), lattice constants (n,), Å."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.model.possible(self._estimates(rows, a))

    def _estimates(self, rows: NDArray[np.uint8], a: NDArray[np.float32]) -> dict[str, Estimate]:
        found = self.model.estimates(self.kernel.predict_cells(self.prototype, rows, a))
        for target, logarithms in self._element_factors.items():
            mean, std = found[target]
            found[target] = (mean, std * np.exp(self.prototype.role_sums(logarithms, rows)))
        for calibration in self.card.calibrations:
            if calibration.support:
                mean, spread = found[calibration.target]
                found[calibration.target] = (mean, self._supported(calibration, mean, spread, rows))
        return found

    def _supported(
        self, calibration: Calibration, mean: NDArray[np.float32], spread: NDArray[np.float32], rows: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return deviations (n,) that grow where few training rows support canonical species (n, n_sites)."""
        kind, anions = self.prototype, np.zeros(MAX_Z + 1)
        for symbol, weight in calibration.anions.items():
            anions[atomic_number(symbol)] = weight
        doubles = np.full(len(rows), (kind.role_index == 1).sum() > 1)
        described = features(mean, spread, self.model.support.rows(kind, rows), is_double=doubles)
        return SupportDeviation(np.array(calibration.support), anions).of(described, anion_shares(kind, rows))

    @cached_property
    def _element_factors(self) -> dict[str, NDArray[np.float32]]:
        """Target → (R, 101) logarithm of the factor that an element on a role applies to the deviation."""
        roles = self.prototype.role_names
        tables = {}
        for calibration in self.card.calibrations:
            table = np.zeros((len(roles), MAX_Z + 1), dtype=np.float32)
            for role, factors in calibration.factors.items():
                for symbol, factor in factors.items():
                    table[roles.index(role), atomic_number(symbol)] = np.log(factor)
            tables[calibration.target] = table
        return tables

    def in_domain(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return whether every element of species (n, n_sites) was trained on a site of its role, (n,)."""
        trained = self.domain.trained[self.prototype.role_index, self._checked(species)]  # (n, n_sites)
        return np.asarray(trained.all(axis=1))

    def known(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return whether this very composition, site by site up to equal roles, was a training row, (n,)."""
        keys = composition_keys(self.prototype.canonical(self._checked(species)))
        return np.isin(keys, self.domain.known)

    def known_labels(self, species: NDArray[np.uint8], target: str) -> NDArray[np.float32]:
        """Return the labels (n,) that these very compositions had in the training, the lowest of several.

        A composition without a label gets NaN, and so do all targets except the model's first, the only one it keeps.
        """
        if target != self.model.settings.targets[0]:
            return np.full(len(species), np.nan, dtype=np.float32)
        return self.domain.labels_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def known_bounds(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return whether these labels are only upper bounds, (n,), as where only the cubic polymorph was computed."""
        return self.domain.bounds_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def known_ids(self, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the ids (n, w) of the rows with these labels, as UTF-8 padded with NULs; w is 0 if there are none."""
        return self.domain.ids_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def domain_distance(self, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return how far species (n, n_sites) are from the training, (n,), by the least known element or the anions.

        It is 0 if each element was trained on its site and the set on X as a whole, and about 1 if an element or the
        set is as new as one of the training was to the others; see `cgcnn.models.domain`.
        """
        by_site: NDArray[np.float32] = self.domain.distance[self.prototype.role_index, self._checked(species)]
        by_set = self.model.anion_sets.distance(self.prototype, self.prototype.canonical(species))
        return np.asarray(np.maximum(by_site.max(axis=1), by_set))

    def _checked(self, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sites = self.prototype.sites
        if species.ndim != 2 or species.shape[1] != len(sites):
            raise UserError(
                f"model {self.card.name}: trained for sites {','.join(sites)}; got an array {species.shape}"
            )
        wrong = species[(species < 1) | (species > MAX_Z)]
        if len(wrong):
            raise UserError(f"atomic number {wrong[0]}: models know H to {SYMBOLS[MAX_Z]}")
        return species


SETTINGS = Settings(targets=("key",), width=32, layers=1, hidden=64, sites=32, gaussians=16, activation="silu")
"""2.4 million candidates a second of a core; half as wide errs by a fifth more, and two convolutions gain nothing."""


@dataclass(frozen=True, eq=False)
class Student:
    """A small network that imitates an ensemble on candidates: many times as fast, but less accurate.

    `cgcnn.training.distil` fits it to the candidates of one prototype. With one convolution and a readout of sites,
    all of its products with elements are rows of tables. It uses the same compiled kernel as the ensemble, so that its
    bits do not depend on what else is predicted.

    Attributes:
        weights: Weights of a network with `SETTINGS`, by their names in `cgcnn.network.reference.CGCNN`.
    """

    weights: Weights

    @classmethod
    def of_bytes(cls, content: bytes) -> Student:
        """Read the student that `to_bytes` wrote."""
        return cls(safetensors.numpy.load(content))

    def to_bytes(self) -> bytes:
        """Write the weights as safetensors."""
        return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in self.weights.items()})

    @cached_property
    def digest(self) -> str:
        """The digest that identifies the student."""
        return hashlib.blake2b(self.to_bytes(), digest_size=16).hexdigest()

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel that predicts."""
        return for_candidates(choose_kernel(SETTINGS, [self.weights]))

    def predict(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> NDArray[np.float32]:
        """Imitate the ensemble on canonical species (n, n_sites) and lattice constants (n,), Å; returns (n,)."""
        return self.kernel.predict_cells(prototype, species, a)[0, :, 0]
