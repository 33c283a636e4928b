import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, PROTOTYPES, Prototype
from cgcnn.models.model import Model
from cgcnn.network.reference import TensorBatch

TIGHT = 2e-4
properties = settings(max_examples=20, deadline=None, derandomize=True)


def rows_of(sites: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(sites)), elements=st.sampled_from([7, 8, 9, 22, 56]))


species_rows = rows_of(5)


@properties
@given(species_rows, st.permutations([2, 3, 4]))
def test_canonical_form_forgets_the_order_of_equal_roles(species: np.ndarray, order: list[int]) -> None:
    canonical = CUBIC_PEROVSKITE.canonical(species)
    np.testing.assert_array_equal(CUBIC_PEROVSKITE.canonical(species[:, [0, 1, *order]]), canonical)
    np.testing.assert_array_equal(CUBIC_PEROVSKITE.canonical(canonical), canonical)
    np.testing.assert_array_equal(canonical[:, :2], species[:, :2])
    np.testing.assert_array_equal(np.sort(canonical[:, 2:]), np.sort(species[:, 2:]))


@pytest.mark.parametrize(
    ("anions", "canonical"),
    [((7, 8, 8), (8, 8, 7)), ((8, 9, 7), (7, 8, 9)), ((16, 8, 8), (8, 8, 16)), ((7, 7, 7), (7, 7, 7))],
)
def test_most_frequent_anion_comes_first_then_the_lightest(
    anions: tuple[int, int, int], canonical: tuple[int, int, int]
) -> None:
    row = CUBIC_PEROVSKITE.canonical(np.array([[56, 22, *anions]], dtype=np.uint8))
    assert tuple(row[0, 2:]) == canonical


@pytest.mark.parametrize(
    ("anions", "nodes", "edges"), [((8, 8, 8), 3, 6), ((8, 8, 7), 4, 12), ((8, 7, 8), 4, 12), ((7, 8, 9), 5, 19)]
)
def test_batch_uses_the_smallest_graph_of_each_pattern(anions: tuple[int, int, int], nodes: int, edges: int) -> None:
    batch = GraphBatch.of_prototype(CUBIC_PEROVSKITE, np.array([[56, 22, *anions]], dtype=np.uint8), np.array([4.0]))
    assert (len(batch.numbers), len(batch.source)) == (nodes, edges)
    assert float(batch.multiplicity.sum()) == 5
    assert float((batch.edge_multiplicity * batch.multiplicity[batch.target]).sum()) == 68


@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
@properties
@given(data=st.data(), a=st.floats(3.3, 6.0))
def test_batch_equals_graphs_of_structures(prototype: Prototype, data: st.DataObject, a: float) -> None:
    species = data.draw(rows_of(len(prototype.sites)))
    lattices = np.linspace(a, a + 0.3, len(species))
    batch = GraphBatch.of_prototype(prototype, species, lattices)
    structures = [prototype.structure(*pair) for pair in zip(species, lattices, strict=True)]
    graphs = GraphBatch.of_graphs([CrystalGraph.from_structure(structure) for structure in structures])
    assert _outputs(batch) == pytest.approx(_outputs(graphs), abs=TIGHT)


def _outputs(batch: GraphBatch) -> np.ndarray:
    from cgcnn.testing import untrained

    return untrained(CUBIC_PEROVSKITE, {}).predict(batch)["e_above_hull"][0]


def test_results_come_in_row_order(model: Model, compositions: np.ndarray) -> None:
    mean, std = model.on("cubic-perovskite").predict(compositions)["e_above_hull"]
    singles = [model.on("cubic-perovskite").predict(row[None])["e_above_hull"] for row in compositions]
    assert mean == pytest.approx(np.concatenate([single[0] for single in singles]), abs=TIGHT)
    assert std == pytest.approx(np.concatenate([single[1] for single in singles]), abs=TIGHT)


def test_empty_batch_gives_no_results(model: Model, compositions: np.ndarray) -> None:
    estimates = model.on("cubic-perovskite").predict(compositions[:0])
    assert {name: len(mean) for name, (mean, _) in estimates.items()} == {"e_above_hull": 0, "a": 0}


def test_batch_moves_between_devices(compositions: np.ndarray) -> None:
    batch = GraphBatch.of_prototype(CUBIC_PEROVSKITE, compositions, np.full(len(compositions), 4.0))
    tensors = vars(TensorBatch.of(batch, "meta")).values()
    assert {tensor.device.type for tensor in tensors if torch.is_tensor(tensor)} == {"meta"}


def test_double_perovskite_is_small_and_rock_salt_ordered() -> None:
    row = np.array([55, 47, 83, 17], dtype=np.uint8)
    batch = GraphBatch.of_prototype(DOUBLE_PEROVSKITE, row[None], np.array([5.5]))
    assert (len(batch.numbers), len(batch.source)) == (4, 9)
    crystal = DOUBLE_PEROVSKITE.structure(row, 5.5)
    assert crystal.get_space_group_info() == ("Fm-3m", 225)
    assert crystal.volume == pytest.approx(2 * 5.5**3)


def test_b_and_b_prime_are_unordered() -> None:
    rows = np.array([[55, 83, 47, 17], [55, 47, 83, 17]], dtype=np.uint8)
    assert DOUBLE_PEROVSKITE.canonical(rows).tolist() == [[55, 47, 83, 17]] * 2


def test_double_perovskite_of_one_b_is_the_single_one() -> None:
    a = np.array([4.0])
    double = GraphBatch.of_prototype(DOUBLE_PEROVSKITE, np.array([[56, 22, 22, 8]], dtype=np.uint8), a)
    single = GraphBatch.of_prototype(CUBIC_PEROVSKITE, np.array([[56, 22, 8, 8, 8]], dtype=np.uint8), a)
    assert _outputs(double) == pytest.approx(_outputs(single), abs=TIGHT)
