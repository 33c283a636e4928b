"""Labels that are only upper bounds, several rows of one composition, and mixtures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from cgcnn.elements import element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.deviations import spread_of
from cgcnn.network.reference import CGCNN
from cgcnn.network.settings import Settings
from cgcnn.training.data import TrainingTable, merge
from cgcnn.training.fit import Examples, FitTask, fit, masked_loss
from cgcnn.training.members import prices_below
from cgcnn.training.recipe import Fit, TrainRecipe

NAN = float("nan")
SETTINGS = Settings(targets=("e", "a"), width=8, layers=1, hidden=8, gaussians=6, radius=6.0)
MIXED = replace(SETTINGS, targets=("e", "yes", "no", "p"), binary=("p",), mixture=("e", "yes", "no", "p"), sites=3)

BASE: dict[str, Any] = {
    **dict.fromkeys(("name", "summary", "label", "data", "retrain"), "text"),
    "input": "prototype",
    "prototypes": ("cubic-perovskite",),
}


def graphs(count: int = 1) -> GraphBatch:
    species = np.tile(np.array([38, 22, 8, 8, 8], dtype=np.uint8), (count, 1))
    species[:, 0] += np.arange(count, dtype=np.uint8)
    return GraphBatch.of_prototype(CUBIC_PEROVSKITE, species, np.full(count, 4.0))


def test_below_a_bound_costs_less() -> None:
    torch.manual_seed(0)
    features = torch.from_numpy(element_features())
    network, task = CGCNN(SETTINGS, features).eval(), FitTask(partial(CGCNN, SETTINGS, features), Fit(), torch.ones(2))
    row = torch.tensor([0])
    value = float(network(Examples(graphs(), torch.zeros(1, 2)).tensors)[0, 0].detach())

    def loss(label: float, below: float) -> float:
        examples = Examples(graphs(), torch.tensor([[label, NAN]]), torch.tensor([[below, 1.0]]))
        return float(masked_loss(network, examples, row, task).detach())

    assert loss(value + 2, 0.25) == pytest.approx(0.5, abs=1e-5)
    assert loss(value + 2, 1.0) == pytest.approx(2.0, abs=1e-5)
    assert loss(value - 2, 0.25) == pytest.approx(2.0, abs=1e-5)
    assert loss(value + 2, 0.0) == 0


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        (0.5, [0.5, 0.5, 1.0]),
        ({"cubic-perovskite": 0.3}, [0.3, 1.0, 1.0]),
        ({"double-perovskite": 0.8}, [1.0, 0.8, 1.0]),
    ],
)
def test_a_price_below_bounds_holds_for_its_prototypes_alone(below: Any, expected: list[float]) -> None:
    targets = [{"name": "e", "unit": "", "below": below}, {"name": "a", "unit": ""}]
    recipe = TrainRecipe.model_validate(
        BASE | {"targets": targets, "prototypes": (*BASE["prototypes"], "double-perovskite")}
    )
    bound = np.array([[True, True], [True, False], [False, False]])
    shape, labels = np.array([0, 1, 1], dtype=np.int8), np.ones((3, 2), dtype=np.float32)
    table = TrainingTable(("a", "b", "c"), labels, np.zeros(3, np.int64), shape, bound=bound)
    found = prices_below(table, recipe)
    assert found is not None
    np.testing.assert_allclose(found, np.column_stack([expected, np.ones(3)]), rtol=1e-6)
    assert prices_below(replace(table, bound=None), recipe) is None


def test_rows_of_one_composition_are_merged() -> None:
    targets = np.array([[0.1, NAN], [0.3, 2.0], [NAN, 1.0], [0.2, NAN]], dtype=np.float32)
    species = np.array([[1, 2, 3, 3, 3], [4, 5, 6, 6, 6], [1, 2, 3, 3, 3], [1, 2, 3, 3, 3]], dtype=np.uint8)
    lattice = np.array([NAN, 4.0, 3.9, NAN], dtype=np.float32)
    ids, fold, shape = ("a", "b", "c", "d"), np.array([0, 1, 0, 0]), np.zeros(4, np.int8)
    table = TrainingTable(ids, targets, fold, shape, species, lattice)
    found, first = merge(table)
    assert (found.ids, first.tolist(), found.bound) == (("a", "b"), [0, 1], None)
    np.testing.assert_allclose(found.targets, [[0.1, 1.0], [0.3, 2.0]])
    np.testing.assert_allclose(found.lattices, [3.9, 4.0])
    turned, first = merge(replace(table, targets=targets[[3, 1, 2, 0]], ids=("d", "b", "c", "a")))
    assert (turned.ids, first.tolist()) == (("a", "b"), [0, 1])  # the id of the lowest


@pytest.mark.parametrize(("bounds", "expected"), [([1, 0, 0, 0], True), ([1, 0, 0, 1], True), ([0, 0, 0, 1], False)])
def test_a_merged_label_is_a_bound_where_the_least_one_is(bounds: list[int], expected: bool) -> None:  # noqa: FBT001
    targets = np.array([[0.1], [0.3], [NAN], [0.2]], dtype=np.float32)
    species = np.array([[1, 2, 3, 3, 3], [4, 5, 6, 6, 6], [1, 2, 3, 3, 3], [1, 2, 3, 3, 3]], dtype=np.uint8)
    bound = np.array(bounds, dtype=np.bool_)[:, None]
    table = TrainingTable(
        tuple("abcd"), targets, np.zeros(4, int), np.zeros(4, np.int8), species, np.full(4, 4.0, np.float32)
    )
    found, _ = merge(replace(table, bound=bound))
    assert found.bound is not None
    assert found.bound.tolist() == [[expected], [False]]


def test_a_mixture_and_its_parts_are_fitted_on_one_scale() -> None:
    rng = np.random.default_rng(0)
    leaves = rng.integers(0, 2, 24)
    energy = np.where(leaves == 1, 0.2, 1.0) + rng.normal(0, 0.1, 24)
    targets = np.stack([energy, np.where(leaves, energy, NAN), np.where(leaves, NAN, energy), leaves], axis=1)
    examples = Examples(graphs(24), torch.from_numpy(targets.astype(np.float32)))
    task = FitTask(
        partial(CGCNN, MIXED, torch.from_numpy(element_features())), Fit(epochs=2, batch_size=12), torch.ones(4)
    )
    network = fit(task, (examples, None), 0).last
    assert len(set(network.target_mean[:3].tolist())) == len(set(network.target_std[:3].tolist())) == 1
    assert network.target_mean[0] == pytest.approx(energy.mean(), rel=1e-5)
    e, yes, no, p = network(examples.tensors).detach().T
    torch.testing.assert_close(e, p * yes + (1 - p) * no)


def test_the_spread_of_a_mixture_holds_its_own_doubt() -> None:
    outputs = np.array([[[0.5, 1.0, 0.0, 0.5]], [[0.5, 1.0, 0.0, 0.5]]], dtype=np.float32)  # members agree
    assert spread_of(outputs, MIXED)[0] == pytest.approx([0.5, 0, 0, 0])
    assert spread_of(outputs, replace(MIXED, mixture=()))[0] == pytest.approx([0, 0, 0, 0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"mixture": ("e", "yes", "no", "e")}}, "a binary one"),
        ({"network": {"sites": 4, "pooling": "linear"}}, "linear"),
        ({"network": {"sites": 4}, "input": "structure", "prototypes": ()}, "prototype input"),
        ({"targets": [{"name": "e", "unit": "", "below": {"spinel": 0.5}}]}, "spinel: not a prototype"),
        ({"targets": [{"name": "e", "unit": "", "below": {"cubic-perovskite": 2}}]}, "less than or equal to 1"),
        ({"merge": True, "input": "structure", "prototypes": ()}, "merge: only for prototype input"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    targets = [{"name": n, "unit": "", "kind": "binary" if n == "p" else "number"} for n in MIXED.targets]
    with pytest.raises(ValueError, match=said):
        TrainRecipe.model_validate(BASE | {"targets": targets} | changes)
