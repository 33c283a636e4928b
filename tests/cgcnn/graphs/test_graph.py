import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Structure

from cgcnn.data.build import Rule
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.network.reference import TensorBatch, network
from cgcnn.testing import untrained

TIGHT = 2e-4  # single precision through three layers
MODEL = untrained(CUBIC_PEROVSKITE, {})
properties = settings(max_examples=15, deadline=None, derandomize=True)


@st.composite
def crystals(draw: st.DrawFn) -> Structure:
    """Low and high symmetry, one to six atoms, no two closer than 1 Å."""
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    lattice = Lattice.from_parameters(*rng.uniform(3.5, 5.5, 3), *rng.uniform(75, 105, 3))
    n = draw(st.integers(1, 6))
    grid = draw(st.booleans())
    for _ in range(200):
        frac = rng.integers(0, 4, (n, 3)) / 4 if grid else rng.random((n, 3))
        distance = lattice.get_all_distances(frac, frac) + 9 * np.eye(n)
        if distance.min() > 1.0:
            break
    else:
        frac = frac[:1]
    species = rng.choice(["Ba", "Ti", "O", "N"], len(frac))
    return Structure(lattice, species, frac)


def predict(*graphs: CrystalGraph) -> np.ndarray:
    return MODEL.predict(GraphBatch.of_graphs(graphs))["e_above_hull"][0]


def predicted(structure: Structure) -> np.float32:
    return predict(CrystalGraph.from_structure(structure))[0]


def test_shells_of_the_ideal_perovskite_are_complete() -> None:
    graph = CUBIC_PEROVSKITE.graph(np.array([56, 22, 8, 8, 8], dtype=np.uint8), 4.0)
    assert np.bincount(graph.target).tolist() == [12, 14, 14, 14, 14]
    quotient = graph.quotient()
    assert (len(quotient.numbers), len(quotient.source)) == (3, 6)
    edges = {
        (int(quotient.numbers[t]), int(quotient.numbers[s]), round(float(d), 3)): int(m)
        for s, t, d, m in zip(
            quotient.source, quotient.target, quotient.distance, quotient.edge_multiplicity, strict=True
        )
    }
    assert edges == {
        (56, 8, 2.828): 12,
        (22, 8, 2.0): 6,
        (22, 56, 3.464): 8,
        (8, 22, 2.0): 2,
        (8, 56, 2.828): 4,
        (8, 8, 2.828): 8,
    }


@properties
@given(crystals(), st.integers(0, 1000))
def test_atom_order_does_not_matter(crystal: Structure, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(crystal))
    shuffled = Structure.from_sites([crystal[int(i)] for i in order])
    assert predicted(shuffled) == pytest.approx(predicted(crystal), abs=TIGHT)


@properties
@given(crystals(), st.tuples(*[st.floats(-2, 2)] * 3))
def test_translation_does_not_matter(crystal: Structure, shift: tuple[float, float, float]) -> None:
    moved = crystal.copy()
    moved.translate_sites(range(len(moved)), shift)
    assert predicted(moved) == pytest.approx(predicted(crystal), abs=TIGHT)


@properties
@given(crystals(), st.integers(0, 1000))
def test_rotation_does_not_matter(crystal: Structure, seed: int) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turned = Structure(crystal.lattice.matrix @ rotation, crystal.species, crystal.frac_coords)
    assert predicted(turned) == pytest.approx(predicted(crystal), abs=TIGHT)


@properties
@given(crystals(), st.sampled_from([[[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [-1, 1, 0], [0, 1, 1]]]))
def test_choice_of_lattice_vectors_does_not_matter(crystal: Structure, change: list[list[int]]) -> None:
    other = Structure(
        np.array(change) @ crystal.lattice.matrix, crystal.species, crystal.cart_coords, coords_are_cartesian=True
    )
    assert predicted(other) == pytest.approx(predicted(crystal), abs=TIGHT)


@properties
@given(crystals(), st.sampled_from([[2, 1, 1], [1, 2, 2], [[1, 1, 0], [1, -1, 0], [0, 0, 1]]]))
def test_supercell_does_not_matter(crystal: Structure, scaling: list[list[int]]) -> None:
    larger = crystal.make_supercell(scaling, in_place=False)
    assert predicted(larger) == pytest.approx(predicted(crystal), abs=TIGHT)


@properties
@given(crystals())
def test_quotient_predicts_as_the_full_graph(crystal: Structure) -> None:
    full = CrystalGraph.from_structure(crystal)
    quotient = full.quotient()
    assert quotient.multiplicity.sum() == len(crystal)
    per_edge = quotient.edge_multiplicity * quotient.multiplicity[quotient.target]
    assert per_edge.sum() == len(full.source)
    assert predict(quotient) == pytest.approx(predict(full), abs=TIGHT)


@properties
@given(crystals())
def test_quotient_of_a_quotient_is_itself(crystal: Structure) -> None:
    once = CrystalGraph.from_structure(crystal).quotient()
    twice = once.quotient()
    assert len(once.numbers) == len(twice.numbers)
    assert len(once.source) == len(twice.source)


@properties
@given(crystals())
def test_quotient_of_a_supercell_is_no_larger(crystal: Structure) -> None:
    larger = CrystalGraph.from_structure(crystal.make_supercell([2, 1, 1], in_place=False)).quotient()
    assert len(larger.numbers) == len(CrystalGraph.from_structure(crystal).quotient().numbers)


@properties
@given(st.lists(crystals(), min_size=2, max_size=5))
def test_batch_predicts_as_single_crystals(structures: list[Structure]) -> None:
    graphs = [CrystalGraph.from_structure(structure) for structure in structures]
    assert predict(*graphs) == pytest.approx(np.concatenate([predict(graph) for graph in graphs]), abs=TIGHT)


def test_training_mode_agrees_on_quotient_and_full_graphs(rutile: Structure) -> None:
    crystals = [rutile, CUBIC_PEROVSKITE.structure(np.array([56, 22, 8, 8, 7]), 4.0)]
    full = [CrystalGraph.from_structure(crystal) for crystal in crystals]
    networks = [network(MODEL.settings, MODEL.members[0]).train() for _ in range(2)]
    batches = [GraphBatch.of_graphs(full), GraphBatch.of_graphs([graph.quotient() for graph in full])]
    outputs = [member(TensorBatch.of(batch)) for member, batch in zip(networks, batches, strict=True)]
    torch.testing.assert_close(*outputs, atol=TIGHT, rtol=TIGHT)
    for (name, a), (_, b) in zip(*(member.named_buffers() for member in networks), strict=True):
        torch.testing.assert_close(a, b, atol=TIGHT, rtol=TIGHT, msg=name)


def test_selecting_graphs_keeps_their_order(rutile: Structure) -> None:
    graphs = [CUBIC_PEROVSKITE.graph(np.array([z, 22, 8, 8, 8], dtype=np.uint8), 4.0) for z in (56, 38, 57)]
    graphs.insert(1, CrystalGraph.from_structure(rutile))
    chosen = GraphBatch.of_graphs(graphs).select(np.array([3, 0, 1]))
    expected = predict(*(graphs[i] for i in (3, 0, 1)))
    assert MODEL.predict(chosen)["e_above_hull"][0] == pytest.approx(expected, abs=TIGHT)


def test_isolated_atom_is_refused() -> None:
    with pytest.raises(UserError, match="isolated"):
        CrystalGraph.from_structure(Structure(Lattice.cubic(20), ["O"], [[0, 0, 0]]))


def test_overlapping_atoms_are_refused() -> None:
    twice = Structure(Lattice.cubic(4), ["O", "O"], [[0, 0, 0], [0, 0, 0.05]])
    with pytest.raises(UserError, match="overlap"):
        CrystalGraph.from_structure(twice)


def test_a_cell_far_too_small_is_refused_at_once() -> None:
    tiny = Structure(Lattice.cubic(0.04), ["O"], [[0, 0, 0]])
    for rule in (Rule("shells", 12, 8.0), Rule("original", 12, 8.0)):
        with pytest.raises(UserError, match="overlap"):
            rule.graph(tiny)


def test_partial_occupancy_is_refused() -> None:
    mixed = Structure(Lattice.cubic(4), [{"Ba": 0.5, "Sr": 0.5}], [[0, 0, 0]])
    with pytest.raises(UserError, match="partially occupied"):
        CrystalGraph.from_structure(mixed)


@pytest.mark.parametrize("species", [DummySpecies("Qa"), "Lr"])
def test_element_without_features_is_refused(species: DummySpecies | str) -> None:
    with pytest.raises(UserError, match="not an element that models know"):
        CrystalGraph.from_structure(Structure(Lattice.cubic(3), [species], [[0, 0, 0]]))


def test_oxidation_states_do_not_matter(rutile: Structure) -> None:
    decorated = rutile.copy()
    decorated.add_oxidation_state_by_element({"Ti": 4, "O": -2})
    assert predicted(decorated) == predicted(rutile)
