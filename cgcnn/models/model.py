"""Trained models: an ensemble, what it was trained on, and its card; safetensors beside JSON."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch, from_graphs
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.calibration import calibrated
from cgcnn.models.card import Calibration, Card, read_card, shipped, weights_path
from cgcnn.models.digest import digest
from cgcnn.models.domain import AnionSets, Domain
from cgcnn.network.reference import CGCNN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.network.settings import Settings

__all__ = ["Card", "Domain", "Model", "load", "save", "shipped"]

ROWS_AT_ONCE = 1024  # bounds memory, and intermediate results stay near the caches
Estimate = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


class Model:
    """A trained model as users meet it.

    Attributes:
        card: What it predicts, from what, how well.
        members: Networks that differ by their seed; the prediction is their mean.
        domain: What it was trained on; None for models that take structures.
    """

    def __init__(self, card: Card, members: list[CGCNN], domain: Domain | None = None) -> None:
        self.members = [member.eval() for member in members]
        self.domain = domain
        self.digest = digest(card, arrays(tensors(self.members, domain)))
        self.card = card.model_copy(update={"digest": self.digest, "members": len(members)})
        self.device = "cpu"
        self._prototype = PROTOTYPES[card.prototypes[0]] if card.prototypes else None

    @property
    def settings(self) -> Settings:
        """Shape of the networks and of the graphs."""
        return self.card.settings

    @property
    def prototype(self) -> Prototype:
        """The prototype whose candidates this model takes: the card's first, unless `taking` chose another.

        Raises:
            UserError: The model takes structures.
        """
        if self._prototype is None:
            raise UserError(f"model {self.card.name}: takes structures; pass crystals, or a model of a prototype")
        return self._prototype

    def taking(self, prototype: str) -> Model:
        """The same model, for candidates of another of its card's prototypes.

        Raises:
            UserError: It was not trained on that prototype.
        """
        if prototype not in self.card.prototypes:
            known = ", ".join(self.card.prototypes) or "structures"
            raise UserError(f"model {self.card.name}: trained for {known}, not {prototype}")
        other = copy(self)
        other._prototype = PROTOTYPES[prototype]  # noqa: SLF001  # a Model's own
        return other

    def to(self, device: str) -> Model:
        """The model itself, its networks moved to a device such as "cuda"."""
        self.members = [member.to(device) for member in self.members]
        self.device = device
        return self

    @torch.inference_mode()
    def predict(self, batch: GraphBatch) -> dict[str, Estimate]:
        """Mean over the members and standard deviation, (n,) float32 each, for every target in its unit.

        The deviation is the members' spread, made larger where the card says how (`calibration`); not by element.
        """
        moved = batch if self.device == "cpu" else batch.to(self.device)
        outputs = torch.stack([member(moved) for member in self.members])  # (members, n, T)
        centre = outputs.mean(dim=0)  # (n, T)
        spread = (outputs - centre).square().mean(dim=0).sqrt()  # (n, T)
        mean, std = centre.cpu().numpy(), spread.cpu().numpy()
        for calibration in self.card.calibrations:
            column = self.settings.targets.index(calibration.target)
            std[:, column] = calibrated(std[:, column], calibration.scale, calibration.floor)
        return {name: (mean[:, i], std[:, i]) for i, name in enumerate(self.settings.targets)}

    def predict_graphs(self, graphs: Sequence[CrystalGraph]) -> dict[str, Estimate]:
        """`predict` of the batch that the graphs make."""
        return self.predict(from_graphs(graphs))

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(101,) whether the model has features of the element."""
        return np.asarray(~np.isnan(self.members[0].element_features.cpu().numpy()).any(axis=1))

    def predict_prototype(self, species: NDArray[np.uint8]) -> dict[str, Estimate]:
        """Predict candidates of the model's prototype from their elements alone.

        Args:
            species: (n, n_sites) atomic numbers in the order of the prototype's sites; equal-role sites in any order.

        Returns:
            For every target the mean and the standard deviation as from `predict`, (n,) float32 each.

        Raises:
            UserError: The model takes structures, the sites do not fit, or an element has no features.
        """
        return self.predict_cells(*self.cells(species))

    def cells(self, species: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What the graphs of candidates are made from; `predict_cells` takes it, in this process or in another.

        Args:
            species: (n, n_sites) atomic numbers; equal-role sites in any order.

        Returns:
            Canonical species (n, n_sites) and reference lattice constants (n,), Å: a few bytes a candidate.

        Raises:
            UserError: The model takes structures, the sites do not fit, or an element has no features.
        """
        rows = self.prototype.canonical(self._checked(species))
        return rows, self._domain().reference_lattice(self.prototype, rows)

    def predict_cells(self, rows: NDArray[np.uint8], a: NDArray[np.float32]) -> dict[str, Estimate]:
        """Predict candidates as `cells` describes them: canonical species (n, n_sites), lattice constants (n,), Å."""
        prototype, neighbours = self.prototype, self.settings.neighbours
        parts = [
            self.predict(prototype.batch(rows[i : i + ROWS_AT_ONCE], a[i : i + ROWS_AT_ONCE], neighbours))
            for i in range(0, max(len(rows), 1), ROWS_AT_ONCE)
        ]
        found = {
            name: (np.concatenate([p[name][0] for p in parts]), np.concatenate([p[name][1] for p in parts]))
            for name in self.settings.targets
        }
        for calibration in self.card.calibrations:
            mean, std = found[calibration.target]
            found[calibration.target] = (mean, std * self._element_factor(calibration, rows))
        return found

    def _element_factor(self, calibration: Calibration, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) by which deviations of canonical species (n, n_sites) are larger than those of all."""
        prototype = self.prototype
        table = np.zeros((len(prototype.role_names), MAX_Z + 1), dtype=np.float32)  # (R, 101) logarithms
        for role, factors in calibration.factors.items():
            for symbol, factor in factors.items():
                table[prototype.role_names.index(role), atomic_number(symbol)] = np.log(factor)
        return np.exp(prototype.role_sums(table, species))

    def in_domain(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) whether each element of species (n, n_sites) was trained on a site of that role."""
        trained = self._domain().trained[self.prototype.role_index, self._checked(species)]  # (n, n_sites)
        return np.asarray(trained.all(axis=1))

    def known(self, species: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(n,) whether this very composition, site by site up to equal roles, was a training row."""
        keys = composition_keys(self.prototype.canonical(self._checked(species)))
        return np.isin(keys, self._domain().known)

    def domain_distance(self, species: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n,) how far species (n, n_sites) are from the training: their least known element, or their set of anions.

        0 where each element was trained on its site, and the set on X as a whole. About 1 where an element, or the set,
        is as new as one of the training was to the others; see `cgcnn.models.domain`.
        """
        by_site: NDArray[np.float32] = self._domain().distance[self.prototype.role_index, self._checked(species)]
        by_set = self._anion_sets.distance(self.prototype, self.prototype.canonical(species))
        return np.asarray(np.maximum(by_site.max(axis=1), by_set))

    @cached_property
    def _anion_sets(self) -> AnionSets:
        return AnionSets(self.members, [PROTOTYPES[name] for name in self.card.prototypes], self._domain().known)

    def _domain(self) -> Domain:
        if self.domain is None:
            raise UserError(f"model {self.card.name}: takes structures; pass crystals, or a model of a prototype")
        return self.domain

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


def tensors(members: list[CGCNN], domain: Domain | None) -> dict[str, Tensor]:
    """Every tensor of a model under the name it has in the file."""
    named = {f"members.{i}.{k}": v for i, member in enumerate(members) for k, v in member.state_dict().items()}
    parts = {} if domain is None else {f"domain.{name}": torch.from_numpy(a) for name, a in vars(domain).items()}
    return {name: tensor.detach().contiguous() for name, tensor in {**named, **parts}.items()}


def arrays(named: dict[str, Tensor]) -> dict[str, NDArray[np.generic]]:
    """The tensors as numpy arrays."""
    return {name: tensor.numpy() for name, tensor in named.items()}


def save(model: Model, path: str | Path) -> Path:
    """Write ``path``.safetensors and its card ``path``.json; both appear whole or not at all.

    Raises:
        UserError: The directory cannot be written.
    """
    target = Path(path).with_suffix(".safetensors")
    card = target.with_suffix(".json")
    try:
        partial = target.with_suffix(".partial")
        partial.write_bytes(serialize(tensors(model.members, model.domain)))
        partial.replace(target)
        partial.write_text(model.card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.replace(card)
    except OSError as error:
        raise UserError(f"{target}: cannot write the model ({error.strerror}); choose another place") from None
    return target


def load(name_or_path: str | Path) -> Model:
    """Read a shipped model by name, or any model by path.

    Raises:
        UserError: No such model, not a model, damaged, or a card that belongs to other weights.
    """
    path = weights_path(name_or_path)
    card = read_card(path)
    try:
        named = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a model file ({error}); pass a file written by 'cgcnn train'") from None
    if digest(card, arrays(named)) != card.digest:
        raise UserError(f"{path}: the weights are not those of the card {path.stem}.json; copy both files again")
    members = [_member(card, named, i) for i in range(card.members)]
    return Model(card, members, _read_domain(named) if card.input == "prototype" else None)


def _member(card: Card, named: dict[str, Tensor], index: int) -> CGCNN:
    prefix = f"members.{index}."
    state = {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}
    member = CGCNN(card.settings, state["element_features"])
    member.load_state_dict(state)
    return member


def _read_domain(named: dict[str, Tensor]) -> Domain:
    return Domain(
        **{name.removeprefix("domain."): t.numpy() for name, t in named.items() if name.startswith("domain.")}
    )
