"""Every kind of convolution and pooling, binary targets, contributions of atoms."""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from torch.nn import functional

from cgcnn.elements import element_features
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.inference.explain import atom_contributions, node_contributions, of_compositions, site_contributions
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.reference import CGCNN, POOLS, TensorBatch, WeightedNorm, network
from cgcnn.network.settings import EPSILON, Settings
from cgcnn.testing import untrained, untrained_for_structures
from cgcnn.training.fit import Examples, FitTask, fit, masked_loss
from cgcnn.training.recipe import Fit

TIGHT = 2e-4
KINDS = list(product(["gated", "simple", "edges"], ["mean", "sum", "max", "linear"]))


def settings(convolution: str = "gated", pooling: str = "mean", **changes) -> Settings:
    plain = {"targets": ("energy", "gap"), "width": 8, "layers": 2, "hidden": 8, "gaussians": 12}
    return Settings(**(plain | {"convolution": convolution, "pooling": pooling} | changes))


def structure_model(convolution: str = "gated", pooling: str = "mean", **changes) -> Model:
    model = untrained_for_structures(settings(convolution, pooling, **changes))
    for i, member in enumerate(model.members):
        member["target_mean"] += np.float32(0.5 + i)
        member["target_std"] *= np.float32(1.5)
    return model


def reference(model: Model) -> CGCNN:
    return network(model.settings, model.members[0]).eval()


@pytest.fixture(scope="module")
def crystals(rutile: Structure) -> list[Structure]:
    perovskite = CUBIC_PEROVSKITE.structure(np.array([56, 22, 8, 8, 7]), 4.0)
    blende = Structure.from_spacegroup("F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    return [rutile, perovskite, blende]


def graphs(crystals: list[Structure]) -> list[CrystalGraph]:
    return [CrystalGraph.from_structure(crystal) for crystal in crystals]


@pytest.mark.parametrize(("convolution", "pooling"), KINDS)
def test_quotient_predicts_as_the_full_graph(convolution: str, pooling: str, crystals: list[Structure]) -> None:
    model, full = structure_model(convolution, pooling), graphs(crystals)
    whole, small = (model.predict(GraphBatch.of_graphs(g)) for g in (full, [graph.quotient() for graph in full]))
    for name in ("energy", "gap"):
        assert small[name][0] == pytest.approx(whole[name][0], abs=TIGHT * (10 if pooling == "sum" else 1))
        assert len(set(whole[name][0].round(4))) == 3


@pytest.mark.parametrize(("convolution", "pooling"), KINDS)
def test_every_kind_survives_saving(convolution: str, pooling: str, crystals: list[Structure], tmp_path: Path) -> None:
    model = untrained_for_structures(settings(convolution, pooling))
    loaded, batch = load(save(model, tmp_path / "model")), GraphBatch.of_graphs(graphs(crystals))
    assert loaded.settings == model.settings
    np.testing.assert_array_equal(loaded.predict(batch)["gap"], model.predict(batch)["gap"])


def test_kinds_have_digests_of_their_own() -> None:
    digests = {untrained_for_structures(settings(*kind)).digest for kind in KINDS}
    assert len(digests) == len(KINDS)


def test_supercell_doubles_the_sum_and_leaves_mean_and_max(crystals: list[Structure]) -> None:
    larger = [crystals[0].make_supercell([2, 1, 1], in_place=False)]
    member = reference(structure_model())
    one, two = (TensorBatch.of(GraphBatch.of_graphs(graphs(c))) for c in (crystals[:1], larger))
    for pooling, factor in (("mean", 1), ("max", 1), ("sum", 2)):
        pool = POOLS[pooling]
        double, single = pool(member.nodes(two), two), pool(member.nodes(one), one)
        torch.testing.assert_close(double, factor * single, atol=TIGHT, rtol=TIGHT)


def test_simple_convolution_is_equation_4(crystals: list[Structure]) -> None:
    """One product with the sum of v_j ⊕ u, as it is written in the paper; the norm is a factor and a shift."""
    layer = reference(structure_model("simple")).convolutions[0]
    norm = layer.node_norm
    norm.mean.normal_(generator=torch.Generator().manual_seed(0))
    norm.variance.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    batch = TensorBatch.of(GraphBatch.of_graphs(graphs(crystals)))
    v, u = torch.rand(len(batch.numbers), 8), torch.rand(len(batch.source), 12)
    factor = norm.scale / (norm.variance + EPSILON).sqrt()
    w_c = torch.cat([layer.sender.weight, layer.distance.weight], dim=1) * factor[:, None]
    w_s, b = layer.receiver.weight * factor[:, None], (layer.receiver.bias - norm.mean) * factor + norm.shift
    expected = []
    for i in range(len(v)):
        mine = batch.target == i
        total = torch.cat([v[batch.source[mine]], u[mine]], dim=1).sum(dim=0)
        expected.append(functional.softplus(w_c @ total + w_s @ v[i] + b))
    torch.testing.assert_close(layer(v, u, batch)[0], torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_edges_change_by_what_their_atoms_are(crystals: list[Structure]) -> None:
    """One product with v_i ⊕ v_j ⊕ e, atom by atom."""
    layer = reference(structure_model("edges")).convolutions[1]
    batch = TensorBatch.of(GraphBatch.of_graphs(graphs(crystals)))
    v, e = torch.rand(len(batch.numbers), 8), torch.rand(len(batch.source), 8)
    weight = torch.cat([layer.receiver.weight, layer.sender.weight, layer.distance.weight], dim=1)
    pairs = torch.cat([v[batch.target], v[batch.source], e], dim=1)
    change = functional.silu(layer.change(functional.silu(pairs @ weight.T + layer.receiver.bias)))
    total = torch.stack([change[batch.target == i].sum(dim=0) for i in range(len(v))]) / 12**0.5
    expected = v + layer.node_change(functional.silu(layer.collect(torch.cat([v, total], dim=1))))
    nodes, edges = layer(v, e, batch)
    torch.testing.assert_close(nodes, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(edges, e + change, atol=1e-5, rtol=1e-5)


def test_norms_in_training_are_batch_norms_of_repeated_rows_with_the_right_gradient() -> None:
    norm, often = WeightedNorm(3).double(), torch.tensor([1, 3, 2, 1, 6])
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    repeated = functional.batch_norm(x.repeat_interleave(often, dim=0), None, None, training=True)
    torch.testing.assert_close(norm(x, often.double()).repeat_interleave(often, dim=0), repeated)

    def function(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(norm, {"scale": scale, "shift": shift}, (x, often.double()))

    scale = torch.tensor([0.5, -1, 2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, scale, (scale + 1).detach().requires_grad_()))


def test_contributions_of_atoms_have_the_prediction_as_their_mean(crystals: list[Structure]) -> None:
    model = structure_model("gated", "linear", hidden_layers=3)
    predicted = model.predict(GraphBatch.of_graphs(graphs(crystals)))
    for i, found in enumerate(atom_contributions(model, crystals)):
        for name in ("energy", "gap"):
            assert found[name].shape == (len(crystals[i]),)
            assert found[name].mean() == pytest.approx(predicted[name][0][i], abs=1e-5)
    titanium, oxygen = atom_contributions(model, crystals[:1])[0]["energy"][[0, 2]]
    assert titanium != pytest.approx(oxygen, abs=1e-3)


def test_contributions_of_sites_have_the_prediction_as_their_mean(compositions: np.ndarray) -> None:
    model = untrained(CUBIC_PEROVSKITE, {}, settings(pooling="linear")).on("cubic-perovskite")
    found = site_contributions(model, compositions)["energy"]
    assert found.shape == compositions.shape
    assert found.mean(axis=1) == pytest.approx(model.predict(compositions)["energy"][0], abs=TIGHT)


def test_contributions_need_linear_pooling_and_their_kind_of_input(crystals: list[Structure]) -> None:
    with pytest.raises(UserError, match='pooling = "linear"'):
        node_contributions(structure_model(), GraphBatch.of_graphs(graphs(crystals)))
    with pytest.raises(UserError, match="site_contributions"):
        atom_contributions(untrained(CUBIC_PEROVSKITE, {}, settings(pooling="linear")), crystals)
    with pytest.raises(UserError, match="takes structures"):
        of_compositions(structure_model(pooling="linear"))


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Salts: the first target is a number, the second says whether there is a halogen; each has gaps."""
    salts = [(m, x) for m in ("Na", "K", "Mg", "Ca", "Sr", "Li") for x in ("Cl", "Br", "O", "S")]
    crystals = [Structure(Lattice.cubic(3.5), salt, [[0, 0, 0], [0.5, 0.5, 0.5]]) for salt in salts]
    labels = torch.tensor([[len(m) / 3, float(x in {"Cl", "Br"})] for m, x in salts])
    labels[::5, 0] = torch.nan
    labels[1::7, 1] = torch.nan
    return Examples(GraphBatch.of_graphs([graph.quotient() for graph in graphs(crystals)]), labels)


@pytest.mark.parametrize(
    ("convolution", "pooling"), [("gated", "mean"), ("simple", "linear"), ("simple", "max"), ("edges", "mean")]
)
def test_numbers_and_classes_are_learned_together(convolution: str, pooling: str, examples: Examples) -> None:
    both = settings(convolution, pooling, binary=("gap",), layers=1)
    how = Fit(epochs=25, batch_size=8, learning_rate=0.02, average=0.9)
    network = partial(CGCNN, both, torch.from_numpy(element_features()))
    member = fit(FitTask(network, how, torch.ones(2)), (examples, None), seed=0).last
    predicted = member(examples.tensors)
    assert ((predicted[:, 1] >= 0) & (predicted[:, 1] <= 1)).all()
    known = ~examples.targets[:, 1].isnan()
    assert ((predicted[known, 1] > 0.5) == (examples.targets[known, 1] > 0.5)).all()
    number = ~examples.targets[:, 0].isnan()
    assert (predicted[number, 0] - examples.targets[number, 0]).abs().mean() < 0.1
    assert (member.target_mean[1], member.target_std[1]) == (0, 1)


def test_loss_of_a_class_is_the_cross_entropy_of_known_labels(examples: Examples) -> None:
    member = reference(untrained_for_structures(settings(binary=("gap",))))
    rows = torch.arange(10)
    known = rows[~examples.targets[rows, 1].isnan()]
    assert 0 < len(known) < len(rows)
    probability = member(examples.select(known).tensors)[:, 1]
    expected = functional.binary_cross_entropy(probability, examples.targets[known, 1])
    gap_only = FitTask(lambda: member, Fit(), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(masked_loss(member, examples, rows, gap_only), expected)
