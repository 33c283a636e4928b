"""Trained models: an ensemble, what it was trained on, and its card; and a model for the candidates of a prototype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, overload

import numpy as np

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.calibration import calibrated, with_odds
from cgcnn.models.digest import digest
from cgcnn.models.domain import AnionSets, Domain
from cgcnn.models.elements import candidates
from cgcnn.models.likeness import Likeness, fingerprint
from cgcnn.models.spread import mean_of, possible, spread_of
from cgcnn.models.support import Support, SupportDeviation, anion_shares, features
from cgcnn.network.choice import choose_kernel, for_candidates
from cgcnn.network.kernel import covered, element_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.models.card import Calibration, Card
    from cgcnn.network.kernel import Kernel, Outputs, Weights
    from cgcnn.network.settings import Settings

Estimate = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
"""Mean over the members and standard deviation, (n,) each."""


class Model:
    """A trained model as users meet it; `on` makes of it one for the candidates of a prototype.

    Attributes:
        card: What it predicts, from what, how well.
        members: The tensors of networks that differ by their seed; the prediction is their mean.
        domain: What it was trained on; None for models that take structures and do not know.
        device: Where it predicts: "cpu", or one as torch names it.
        digest: What tells it from any other model.
    """

    def __init__(
        self, card: Card, members: Sequence[Weights], domain: Domain | Likeness | None = None, device: str = "cpu"
    ) -> None:
        self.members, self.domain, self.device = tuple(members), domain, device
        self.digest = digest(card, self.members, domain)
        self.card = card.model_copy(update={"digest": self.digest, "members": len(self.members)})

    @property
    def settings(self) -> Settings:
        """Shape of the networks and of the graphs."""
        return self.card.settings

    @cached_property
    def kernel(self) -> Kernel:
        """What does the arithmetic; its name and version say whose bits predictions have."""
        return choose_kernel(self.settings, self.members, self.device)

    @cached_property
    def kernel_for_candidates(self) -> Kernel:
        """The same for candidates of prototypes."""
        return for_candidates(self.kernel)

    def to(self, device: str) -> Model:
        """The same model, predicting on another device such as "cuda"."""
        return Model(self.card, self.members, self.domain, device)

    def on(self, prototype: str) -> PrototypeModel:
        """The model for candidates of a prototype.

        Raises:
            UserError: It was not trained on that prototype.
        """
        if not isinstance(self.domain, Domain) or prototype not in self.card.prototypes:
            known = ", ".join(self.card.prototypes) or "structures"
            raise UserError(f"model {self.card.name}: trained for {known}, not {prototype}")
        return PrototypeModel(self, PROTOTYPES[prototype], self.domain)

    def predict(self, batch: GraphBatch) -> dict[str, Estimate]:
        """Mean over the members and standard deviation, (n,) float32 each, for every target in its unit.

        The deviation is the members' spread, made larger where the card says how (`calibration`); not by element.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found in the estimates
            return self.estimates(self.kernel.predict(batch))

    def predict_graphs(self, graphs: Sequence[CrystalGraph]) -> dict[str, Estimate]:
        """`predict` of the batch that the graphs make."""
        return self.predict(GraphBatch.of_graphs(graphs))

    def estimates(self, outputs: Outputs) -> dict[str, Estimate]:
        """What outputs (members, n, T) of the kernel come to; see `predict`.

        The odds of a yes are those that hold where the card says how (`odds`); a mixture is of the members' own. What
        is not `possible` is NaN.
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
        """Estimates without those that cannot be, see `cgcnn.models.spread.possible`."""
        units = {target.name: target.unit for target in self.card.targets}
        return {name: possible(mean, spread, units.get(name, "")) for name, (mean, spread) in found.items()}

    def structural_distance(self, graphs: GraphBatch) -> NDArray[np.float32]:
        """(n,) how far crystals are from those of the training; beyond 1 they are unlike them, NaN where not known.

        See `cgcnn.models.likeness`.
        """
        if not isinstance(self.domain, Likeness):
            return np.full(len(graphs), np.nan, dtype=np.float32)
        return self.domain.distance(fingerprint(graphs), self.kernel.pooled(graphs))

    @cached_property
    def support(self) -> Support:
        """How many training rows have an element on a role with an anion; of a model of prototypes."""
        known = self.domain.known if isinstance(self.domain, Domain) else np.empty(0, dtype=np.int64)
        return Support.of(known, [PROTOTYPES[name] for name in self.card.prototypes])

    @cached_property
    def covered(self) -> NDArray[np.bool_]:
        """(101,) whether the model has features of the element."""
        return covered(self.members[0])

    @cached_property
    def anion_sets(self) -> AnionSets:
        """Those of the training; none for models that take structures."""
        known = self.domain.known if isinstance(self.domain, Domain) else np.empty(0, dtype=np.int64)
        return AnionSets(element_table(self.members), [PROTOTYPES[name] for name in self.card.prototypes], known)


@dataclass(frozen=True, eq=False)
class PrototypeModel:
    """A model for candidates of one prototype, from their elements alone.

    Attributes:
        model: What predicts.
        prototype: One of its card's.
        domain: What the model was trained on.
    """

    model: Model
    prototype: Prototype
    domain: Domain

    @property
    def card(self) -> Card:
        """The model's."""
        return self.model.card

    @property
    def settings(self) -> Settings:
        """The model's."""
        return self.model.settings

    @property
    def digest(self) -> str:
        """The model's."""
        return self.model.digest

    @property
    def kernel(self) -> Kernel:
        """The model's, for candidates."""
        return self.model.kernel_for_candidates

    def to(self, device: str) -> PrototypeModel:
        """The same model, predicting on another device such as "cuda"."""
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
            elements: Instead, for each role the symbols of its elements, such as ``A="Cs", B=["Ag", "Bi"], X="Cl"``.

        Returns:
            By species, for every target the mean and the standard deviation as from `Model.predict`, (n,) float32 each;
            the deviation also made larger or smaller by the elements, where the card says how. By elements, a table of
            pandas with a row for each of the `candidates`: the sites; each target in its unit, and its deviation
            (``a``, ``a_std``); ``in_domain``; ``known``. The units are in ``attrs["units"]``.

        Raises:
            UserError: The sites do not fit, or an element has no features.
        """
        if species is None:
            return self._table(candidates(self.prototype, elements))
        return self.predict_cells(*self.cells(species))

    def _table(self, species: NDArray[np.uint8]) -> pd.DataFrame:
        """Candidates with all that the model says of them."""
        import pandas as pd

        symbols = np.array(SYMBOLS)[species]  # (n, n_sites)
        table = pd.DataFrame(dict(zip(self.prototype.sites, symbols.T, strict=True)))
        for target, (mean, std) in self.predict(species).items():
            table[target], table[f"{target}_std"] = mean, std
        table["in_domain"], table["known"] = self.in_domain(species), self.known(species)
        table.attrs |= {"units": {target.name: target.unit for target in self.card.targets}, "model": self.card.name}
        return table

    def cells(self, species: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What the graphs of candidates are made from; `predict_cells` takes it, in this process or in another.

        Args:
            species: (n, n_sites) atomic numbers; equal-role sites in any order.

        Returns:
            Canonical species (n, n_sites) and reference lattice constants (n,), Å: a few bytes a candidate.

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
        """(n,) deviations that grow where few training rows support canonical species (n, n_sites)."""
        kind, anions = self.prototype, np.zeros(MAX_Z + 1)
        for symbol, weight in calibration.anions.items():
            anions[atomic_number(symbol)] = weight
        doubles = np.full(len(rows), (kind.role_index == 1).sum() > 1)
        described = features(mean, spread, self.model.support.rows(kind, rows), is_double=doubles)
        return SupportDeviation(np.array(calibration.support), anions).of(described, anion_shares(kind, rows))

    @cached_property
    def _element_factors(self) -> dict[str, NDArray[np.float32]]:
        """Target → (R, 101) logarithms of what an element on a role makes of the deviation."""
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
        """(n,) whether each element of species (n, n_sites) was trained on a site of that role."""
        trained = self.domain.trained[self.prototype.role_index, self._checked(species)]  # (n, n_sites)
        return np.asarray(trained.all(axis=1))

    def known(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) whether this very composition, site by site up to equal roles, was a training row."""
        keys = composition_keys(self.prototype.canonical(self._checked(species)))
        return np.isin(keys, self.domain.known)

    def known_labels(self, species: NDArray[np.uint8], target: str) -> NDArray[np.float32]:
        """(n,) labels of a target that these very compositions had in the training, the lowest of several.

        NaN where one was no training row or had no label, and of all targets but the model's first, which it keeps.
        """
        if target != self.model.settings.targets[0]:
            return np.full(len(species), np.nan, dtype=np.float32)
        return self.domain.labels_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def known_bounds(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) whether these labels are only upper bounds, as where no polymorph but the cubic one was computed."""
        return self.domain.bounds_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def known_ids(self, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, w) ids of the rows that have these labels, as UTF-8 with NULs behind; w is 0 if the model keeps none."""
        return self.domain.ids_of(composition_keys(self.prototype.canonical(self._checked(species))))

    def domain_distance(self, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) how far species (n, n_sites) are from the training: their least known element, or their set of anions.

        0 where each element was trained on its site, and the set on X as a whole. About 1 where an element, or the set,
        is as new as one of the training was to the others; see `cgcnn.models.domain`.
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
