"""Fitting a student to what an ensemble says of candidates of a prototype; see `cgcnn.models.model`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from cgcnn.elements import MAX_Z, element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import common_template
from cgcnn.models.model import SETTINGS, Student
from cgcnn.network.reference import CGCNN, TensorBatch, WeightedNorm, weights
from cgcnn.network.torch_kernel import TemplateNetwork
from cgcnn.training.fit import schedule
from cgcnn.training.threads import one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype

BATCH = 1024
EPOCHS = 6
RATE = 0.02
WARM_UP = 0.1
KINK = 0.1  # deviations of the values from where on an error counts linearly
SETTLED = 4096  # rows by which the norms are set, once for all


def fit_student(
    prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32], values: NDArray[np.float32], seed: int = 0
) -> Student:
    """Fit a student; the same arguments give the same bits, whatever the number of cores.

    Args:
        prototype: Of the candidates.
        species: (n, n_sites) canonical species.
        a: (n,) Å, their lattice constants.
        values: (n,) what the student is to say of them.
        seed: Of the initial weights and of the order of the candidates.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _start(prototype, species, a, values)
        _fit(network, prototype, (species, a, values), torch.Generator().manual_seed(seed))
    return Student(_baked(network))


def _start(
    prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32], values: NDArray[np.float32]
) -> CGCNN:
    """A network whose norms are settled: in the fit they are factors and shifts."""
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
    """The weights with the vectors of elements in place of products with their features, which are left out."""
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
