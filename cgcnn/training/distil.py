"""Knowledge distillation: members that learn from teachers, and students that imitate an ensemble.

Networks of several kinds, the teachers, together err less than any of them on unseen compositions. A network that also
learns their predictions there comes near to them (Hinton, Vinyals and Dean, arXiv:1503.02531), so a few networks do the
work of many. A student is a small network that imitates an ensemble on the candidates of a screen.

Teachers of a full grid give a set of elements that shares a role, such as O2N, a vector of its own. On compositions of
that grid they err less than networks that know O2N only by the mean of O and N; they know nothing of other sets, so
they only teach.

Shapes: N nodes, G graphs, R roles, S length of the vectors, k sets; n compositions, T targets.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import common_template
from cgcnn.models.domain import known_of
from cgcnn.models.model import SETTINGS, Student
from cgcnn.network.reference import CGCNN, SiteReadout, TensorBatch, WeightedNorm, weights
from cgcnn.network.settings import ROLES
from cgcnn.network.torch_kernel import TemplateNetwork
from cgcnn.training.data import TrainingTable
from cgcnn.training.fit import one_thread, schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.kernel import Outputs
    from cgcnn.network.settings import Settings


_NAMES = torch.randint(2**48, (ROLES, MAX_Z + 1), generator=torch.Generator().manual_seed(0))  # of an atom on a role


def set_names(batch: TensorBatch) -> Tensor:
    """Return (G, R) a number that identifies the set of elements on each role, with multiplicities.

    Raises:
        ValueError: The graphs are not of prototypes.
    """
    if batch.role is None:
        raise ValueError("sets of elements are of the roles of prototypes")
    atoms = _NAMES[batch.role, batch.numbers] * batch.multiplicity.long()  # (N,)
    names = torch.zeros(batch.n_graphs * ROLES, dtype=torch.int64)
    return names.index_add(0, batch.graph * ROLES + batch.role, atoms).reshape(-1, ROLES)


def shared_sets(batch: TensorBatch) -> Tensor:
    """Return (k,) the sorted names of the sets on roles of more than one atom."""
    if batch.role is None:
        raise ValueError("sets of elements are of the roles of prototypes")
    atoms = torch.zeros(batch.n_graphs * ROLES).index_add(0, batch.graph * ROLES + batch.role, batch.multiplicity)
    return torch.from_numpy(np.unique(set_names(batch).reshape(-1)[atoms > 1].numpy()))


class SetReadout(SiteReadout):
    """A readout of sites in which each known set on a role of several atoms adds its own vector to the mean."""

    sets: Tensor

    def __init__(self, settings: Settings, features: int, sets: Tensor) -> None:
        super().__init__(settings, features)
        self.register_buffer("sets", sets)  # (k,)
        self.of_set = nn.Parameter(torch.zeros(len(sets) + 1, settings.sites))  # the last, for unknown sets, is zero

    def means(self, batch: TensorBatch, element_features: Tensor) -> Tensor:
        """Return (G, R, S) the vectors of the roles."""
        names = set_names(batch)
        at = torch.searchsorted(self.sets, names).clamp(max=len(self.sets) - 1)
        which = torch.where(self.sets[at] == names, at, len(self.sets))
        return super().means(batch, element_features) + self.of_set[which]


def grid_network(settings: Settings, element_features: Tensor, sets: Tensor) -> CGCNN:
    """Make a network with a `SetReadout`.

    Raises:
        ValueError: The settings have no readout of sites.
    """
    made = CGCNN(settings, element_features)
    if made.sites is None:
        raise ValueError("sets: only with a readout of sites")
    made.sites = SetReadout(settings, element_features.shape[1], sets)
    return made


BATCH = 1024
EPOCHS = 6
RATE = 0.02
WARM_UP = 0.1
KINK = 0.1  # standard deviations; larger errors count linearly
SETTLED = 4096  # rows that fix the norms


def fit_student(
    prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32], values: NDArray[np.float32], seed: int = 0
) -> Student:
    """Fit a student; the same arguments give the same bits, whatever the number of cores.

    Args:
        prototype: Prototype of the candidates.
        species: (n, n_sites) canonical species.
        a: (n,) lattice constants in Å.
        values: (n,) values to learn, such as the predictions of an ensemble.
        seed: Seed of the initial weights and the order of the candidates.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _start(prototype, species, a, values)
        _fit(network, prototype, (species, a, values), torch.Generator().manual_seed(seed))
    return Student(_baked(network))


def _start(
    prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32], values: NDArray[np.float32]
) -> CGCNN:
    """Make a network with fixed norms, which are factors and shifts during the fit."""
    network = CGCNN(SETTINGS, torch.from_numpy(element_features()))
    network.target_mean.fill_(float(values.mean()))
    network.target_std.fill_(float(values.std()) or 1.0)
    for module in network.modules():
        if isinstance(module, WeightedNorm):
            module.momentum = 1.0
    graphs = GraphBatch.of_prototype(prototype, species[:SETTLED], a[:SETTLED], SETTINGS.neighbours)
    with torch.no_grad():
        network.train().scaled(TensorBatch.of(graphs))
    return network.eval()


def _fit(
    network: CGCNN,
    prototype: Prototype,
    rows: tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]],
    generator: torch.Generator,
) -> None:
    on_template = TemplateNetwork(network, common_template(prototype, rows[0], SETTINGS.neighbours))
    species, a, values = (torch.from_numpy(np.ascontiguousarray(array)) for array in rows)
    numbers, labels = species.int(), (values - network.target_mean) / network.target_std
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-5, fused=True)
    batches = math.ceil(len(labels) / BATCH)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(labels), generator=generator)
        for step, some in enumerate(order.tensor_split(batches)):
            for group in optimizer.param_groups:
                group["lr"] = RATE * schedule((epoch + step / batches) / EPOCHS, WARM_UP)
            loss = functional.smooth_l1_loss(on_template.scaled(numbers[some], a[some])[:, 0], labels[some], beta=KINK)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def _baked(network: CGCNN) -> dict[str, NDArray[np.generic]]:
    """Return weights in which vectors of elements replace the products with element features."""
    with torch.no_grad():
        network.learned.add_(network.embed(network.element_features))
        if network.sites is not None:
            network.sites.learned.copy_(network.sites.table(network.element_features))
    found = weights(network)
    nothing = np.zeros((MAX_Z + 1, 1), dtype=np.float32)
    nothing[np.isnan(found["element_features"].astype(np.float32)).any(axis=1)] = np.nan
    found["element_features"] = nothing
    for name in ("embed", "sites.embed"):
        length = len(found[f"{name}.bias"])
        found[f"{name}.weight"], found[f"{name}.bias"] = (np.zeros(s, np.float32) for s in ((length, 1), length))
    return found


def rest_of_grid(seen: TrainingTable, prototypes: Sequence[str]) -> TrainingTable:
    """Make the compositions that the rows of a table span but do not contain, without labels or lattice constants.

    The occupation of each role in one row is combined with the occupations of the other roles in all rows.

    Args:
        seen: Rows of compositions.
        prototypes: Names of the recipe's prototypes.
    """
    kinds = seen.by_prototype(prototypes)
    known, width = known_of(kinds), max(len(kind.sites) for kind, _, _ in kinds)
    rows, shapes = [], []
    for position, (kind, _, species) in enumerate(kinds):
        whole = _span(kind, species)
        new = whole[~np.isin(composition_keys(whole), known)]
        rows.append(np.pad(new, ((0, 0), (0, width - len(kind.sites)))))
        shapes.append(np.full(len(new), position, dtype=np.int8))
    species, shape = np.concatenate(rows), np.concatenate(shapes)
    return TrainingTable(
        ids=("",) * len(species),
        targets=np.full((len(species), seen.targets.shape[1]), np.nan, dtype=np.float32),
        fold=np.full(len(species), -1),
        shape=shape,
        species=species,
        lattice=np.full(len(species), np.nan, dtype=np.float32),
    )


def _span(kind: Prototype, species: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Combine the occupations of each role in species (k, n_sites) to canonical compositions (n, n_sites)."""
    made = np.empty((1, len(kind.sites)), dtype=np.uint8)
    for role in range(len(kind.role_names)):
        sites = kind.role_index == role
        choices = np.unique(species[:, sites], axis=0)
        pairs = np.array(list(product(range(len(made)), range(len(choices)))), dtype=np.int64).reshape(-1, 2)
        made = made[pairs[:, 0]]
        made[:, sites] = choices[pairs[:, 1]]
    return np.unique(kind.canonical(made), axis=0)


def expected(outputs: Outputs, settings: Settings) -> NDArray[np.float32]:
    """Return (n, T) labels for the members of a mixture, from outputs (networks, n, T) of their teachers.

    The two parts and the probability are the teachers' means. The mixed value uses the squared odds: this is near the
    mixture's median, which errs less than its mean where the likelier part is right. Other targets are NaN.
    """
    if settings.mixed is None:
        raise ValueError("only the members of a mixture have teachers")
    whole, yes, no, chance = settings.mixed
    mean: NDArray[np.float32] = outputs.mean(axis=0)  # (n, T)
    p = mean[:, chance]
    sure = p**2 / (p**2 + (1 - p) ** 2)
    found = np.full(mean.shape, np.nan, dtype=np.float32)
    found[:, [yes, no, chance]] = mean[:, [yes, no, chance]]
    found[:, whole] = mean[:, no] + sure * (mean[:, yes] - mean[:, no])
    return found
