"""Graphs one after the other: put together, chosen, cut apart, kept as bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE, Prototype
from cgcnn.network.reference import TensorBatch

properties = settings(max_examples=25, deadline=None, derandomize=True)
FIELDS = tuple(CrystalGraph.__dataclass_fields__)


@st.composite
def graphs(draw: st.DrawFn) -> CrystalGraph:
    """Any graph, edges in any order, some nodes without edges."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    nodes, edges = draw(st.integers(1, 5)), draw(st.integers(0, 12))
    return CrystalGraph(
        numbers=rng.integers(1, 101, nodes).astype(np.uint8),
        multiplicity=rng.integers(1, 9, nodes).astype(np.int32),
        source=rng.integers(0, nodes, edges).astype(np.int32),
        target=rng.integers(0, nodes, edges).astype(np.int32),
        distance=rng.uniform(1, 8, edges).astype(np.float32),
        edge_multiplicity=rng.integers(1, 13, edges).astype(np.int32),
    )


def edges_of(graph: CrystalGraph) -> list[tuple[float, ...]]:
    columns = (graph.target, graph.source, graph.distance, graph.edge_multiplicity)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def assert_same(one: CrystalGraph, other: CrystalGraph) -> None:
    assert one.numbers.tolist() == other.numbers.tolist()
    assert one.multiplicity.tolist() == other.multiplicity.tolist()
    assert edges_of(one) == edges_of(other)
    assert [getattr(one, name).dtype for name in FIELDS] == [getattr(other, name).dtype for name in FIELDS]


def assert_equal(one: GraphBatch, other: GraphBatch) -> None:
    for name in GraphBatch.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(getattr(one, name), "dtype", None) == getattr(getattr(other, name), "dtype", None)


@properties
@given(st.lists(graphs(), max_size=5))
def test_graphs_come_apart_as_they_were_put_together(given: list[CrystalGraph]) -> None:
    batch = GraphBatch.of_graphs(given)
    assert len(batch) == len(given)
    assert (np.diff(batch.target) >= 0).all()
    for one, other in zip(batch.split(), given, strict=True):
        assert_same(one, other)


@properties
@given(st.lists(graphs(), min_size=1, max_size=5), st.data())
def test_chosen_graphs_are_those_put_together_anew(given: list[CrystalGraph], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(given) - 1), max_size=6))
    chosen = GraphBatch.of_graphs(given).select(np.array(rows, dtype=np.int64))
    assert_equal(chosen, GraphBatch.of_graphs([given[row] for row in rows]))


@properties
@given(st.lists(graphs(), max_size=5), st.data())
def test_parts_together_are_the_whole(given: list[CrystalGraph], data: st.DataObject) -> None:
    batch, cut = GraphBatch.of_graphs(given), data.draw(st.integers(0, len(given)))
    parts = [batch.part(0, cut), batch.part(cut, len(given))]
    assert_equal(parts[1], GraphBatch.of_graphs(given[cut:]))
    assert_equal(GraphBatch.concatenate(parts), batch)


@properties
@given(st.lists(graphs(), max_size=8), st.integers(1, 30))
def test_runs_hold_every_graph_once_and_few_edges(given: list[CrystalGraph], most: int) -> None:
    batch = GraphBatch.of_graphs(given)
    runs = list(batch.runs(most))
    assert [row for run in runs for row in range(*run)] == list(range(len(given)))
    assert all(stop == start + 1 or batch.edges[start:stop].sum() <= most for start, stop in runs)


@properties
@given(st.lists(graphs(), max_size=5))
def test_bytes_keep_the_batch(given: list[CrystalGraph]) -> None:
    batch = GraphBatch.of_graphs(given)
    assert_equal(GraphBatch.from_bytes(batch.to_bytes()), batch)


def test_bytes_of_no_batch_are_refused() -> None:
    content = GraphBatch.of_graphs([CUBIC_PEROVSKITE.graph(np.array([56, 22, 8, 8, 8], dtype=np.uint8))]).to_bytes()
    for wrong in (b"", content[:20], content[:-1], content + b"\0", b"\xff" * len(content)):
        with pytest.raises(ValueError, match=r"buffer|batch|count|negative"):
            GraphBatch.from_bytes(wrong)


@pytest.mark.parametrize("prototype", [CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE])
def test_candidates_are_in_the_order_of_their_rows(prototype: Prototype) -> None:
    """Rows of several templates, against one graph at a time."""
    species = np.random.default_rng(0).choice([7, 8, 22], (20, len(prototype.sites))).astype(np.uint8)
    a = np.linspace(3.5, 4.5, 20)
    batch = GraphBatch.of_prototype(prototype, species, a)
    singles = [GraphBatch.of_prototype(prototype, species[[i]], a[[i]]) for i in range(20)]
    assert len(set(batch.nodes.tolist())) > 1
    assert_equal(batch, GraphBatch.concatenate(singles))


@pytest.mark.parametrize("prototype", [CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE])
def test_nodes_have_the_roles_of_their_sites(prototype: Prototype) -> None:
    """Each element here is on one role only, whatever is chosen, cut or put together."""
    on = {"A": [56, 57], "B": [22, 40], "X": [7, 8, 9]}
    rng = np.random.default_rng(0)
    species = np.stack([rng.choice(on[role], 12) for role in prototype.roles], axis=1).astype(np.uint8)
    batch = GraphBatch.of_prototype(prototype, species, np.full(12, 4.0))
    for some in (batch, batch.part(3, 9), batch.select(np.array([7, 2, 2])), GraphBatch.concatenate([batch, batch])):
        assert some.role is not None
        names = np.array(prototype.role_names)[some.role]
        assert [number in on[name] for number, name in zip(some.numbers.tolist(), names, strict=True)].count(False) == 0


def test_the_networks_view_shares_the_memory() -> None:
    batch = GraphBatch.of_prototype(CUBIC_PEROVSKITE, np.array([[56, 22, 8, 8, 8]], dtype=np.uint8), np.array([4.0]))
    tensors = TensorBatch.of(batch)
    for name in ("source", "target", "distance"):
        assert getattr(tensors, name).data_ptr() == getattr(batch, name).ctypes.data
    sent = GraphBatch.from_bytes(batch.to_bytes())  # read-only
    torch.testing.assert_close(TensorBatch.of(sent).distance, tensors.distance)
