"""Original mode against a small implementation of the published forward pass, written from its description."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pymatgen.core import Lattice, Structure
from torch import Tensor
from torch.nn import functional

from cgcnn.cli.commands import app
from cgcnn.data.build import Rule
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph, original_graph
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import load
from cgcnn.models.model import Model
from cgcnn.models.published import import_model, read_atom_init, read_checkpoint

CLOSE = 1e-5
WIDTH, HIDDEN, FEATURES, GAUSSIANS = 6, 5, 7, 41


def element_vectors() -> dict[str, list[float]]:
    rng = np.random.default_rng(1)
    return {str(z): rng.integers(0, 2, FEATURES).tolist() for z in range(1, 101) if z != 99}


def state(layers: int, hidden_layers: int, outputs: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(layers)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / 3

    def linear(name: str, size: int, inputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": normal(size, inputs), f"{name}.bias": normal(size)}

    def norm(name: str, size: int) -> dict[str, Tensor]:
        statistics = {f"{name}.running_mean": normal(size), f"{name}.running_var": normal(size).abs() + 0.1}
        return {f"{name}.weight": normal(size), f"{name}.bias": normal(size), **statistics}

    tensors = linear("embedding", WIDTH, FEATURES)
    for i in range(layers):
        tensors |= linear(f"convs.{i}.fc_full", 2 * WIDTH, 2 * WIDTH + GAUSSIANS)
        tensors |= norm(f"convs.{i}.bn1", 2 * WIDTH) | norm(f"convs.{i}.bn2", WIDTH)
        tensors[f"convs.{i}.bn1.num_batches_tracked"] = torch.tensor(7)
    tensors |= linear("conv_to_fc", HIDDEN, WIDTH) | linear("fc_out", outputs, HIDDEN)
    for i in range(hidden_layers - 1):
        tensors |= linear(f"fcs.{i}", HIDDEN, HIDDEN)
    return tensors


def published(tensors: dict[str, Tensor], crystal: Structure) -> Tensor:
    """Output of one crystal: 12 nearest, the rest atom 0 at 9 Å; sums over neighbours, mean over atoms."""
    nearest = [sorted(found, key=lambda site: site.nn_distance)[:12] for found in crystal.get_all_neighbors(8.0)]
    missing = [12 - len(found) for found in nearest]
    index = torch.tensor([[s.index for s in n] + [0] * m for n, m in zip(nearest, missing, strict=True)])  # (N, 12)
    distance = [[s.nn_distance for s in n] + [9.0] * m for n, m in zip(nearest, missing, strict=True)]  # (N, 12)
    u = np.exp(-(((np.array(distance)[..., None] - np.arange(0, 8.2, 0.2)) / 0.2) ** 2))  # (N, 12, 41)
    u = torch.tensor(u, dtype=torch.float32)
    table = element_vectors()

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        parts = [tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x.reshape(-1, x.shape[-1]), *parts).reshape(x.shape)

    v = linear("embedding", torch.tensor([table[str(site.specie.Z)] for site in crystal], dtype=torch.float32))
    for i in range(sum(name.endswith("fc_full.weight") for name in tensors)):
        z = torch.cat([v[:, None].expand(-1, 12, -1), v[index], u], dim=2)
        gate, core = norm(f"convs.{i}.bn1", linear(f"convs.{i}.fc_full", z)).chunk(2, dim=2)
        total = (gate.sigmoid() * functional.softplus(core)).sum(dim=1)
        v = functional.softplus(v + norm(f"convs.{i}.bn2", total))
    crystal_vector = functional.softplus(linear("conv_to_fc", functional.softplus(v.mean(dim=0))))
    for i in range(sum(name.startswith("fcs.") and name.endswith("weight") for name in tensors)):
        crystal_vector = functional.softplus(linear(f"fcs.{i}", crystal_vector))
    return linear("fc_out", crystal_vector)


def crystals() -> list[Structure]:
    order = [3, 1, 0, 4, 2]
    perovskite = CUBIC_PEROVSKITE.structure(np.array([56, 22, 8, 8, 7]), 4.0)
    return [
        perovskite,
        Structure.from_sites([perovskite[i] for i in order]),
        Structure(Lattice.hexagonal(3.2, 5.2), ["Zn", "S"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]),
        Structure(Lattice.cubic(7.5), ["K", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),  # 8 + 6 neighbours
        Structure(Lattice.cubic(7.9), ["Ar"], [[0, 0, 0]]),  # 6 neighbours
        Structure(Lattice.cubic(15), ["He", "Ne"], [[0.5, 0.5, 0.5], [0.7, 0.5, 0.5]]),  # one neighbour each
        Structure(Lattice.cubic(20), ["Xe"], [[0, 0, 0]]),  # none
    ]


def write_checkpoint(folder: Path, *, layers: int = 2, hidden_layers: int = 1, task: str = "regression", **changes):
    tensors = state(layers, hidden_layers, 2 if task == "classification" else 1)
    content = {
        "epoch": 3,
        "state_dict": tensors,
        "best_mae_error": np.float64(0.25),  # the published classifier has a NumPy number here
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "normalizer": {"mean": torch.tensor(-1.5), "std": torch.tensor(2.5)},
        "args": {"data_options": ["data/sample"], "task": task, "train_size": None, **changes},
    }
    path = folder / "model_best.pth.tar"
    torch.save(content, path)
    (folder / "atom_init.json").write_text(json.dumps(element_vectors()))
    return path, tensors


def imported(folder: Path, **how) -> tuple[Model, dict[str, Tensor]]:
    path, tensors = write_checkpoint(folder, **how)
    return import_model(read_checkpoint(path), read_atom_init(folder / "atom_init.json"), "mine"), tensors


@pytest.mark.parametrize("hidden_layers", [1, 3])
@pytest.mark.parametrize("layers", [1, 4])
def test_regression_is_that_of_the_published_code(tmp_path: Path, layers: int, hidden_layers: int) -> None:
    model, tensors = imported(tmp_path, layers=layers, hidden_layers=hidden_layers)
    graphs = [original_graph(crystal) for crystal in crystals()]
    expected = [float(published(tensors, crystal)) * 2.5 - 1.5 for crystal in crystals()]
    assert model.predict(GraphBatch.of_graphs(graphs))["target"][0] == pytest.approx(expected, abs=CLOSE)


def test_classification_gives_the_probability_of_class_1(tmp_path: Path) -> None:
    model, tensors = imported(tmp_path, task="classification")
    graphs = [original_graph(crystal) for crystal in crystals()]
    expected = [float(published(tensors, crystal).softmax(dim=0)[1]) for crystal in crystals()]
    assert model.predict(GraphBatch.of_graphs(graphs))["target"][0] == pytest.approx(expected, abs=CLOSE)
    assert len({round(value, 3) for value in expected}) > 3


def test_prediction_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    model, _ = imported(tmp_path)
    graphs = [original_graph(crystal) for crystal in crystals()]
    together = model.predict(GraphBatch.of_graphs(graphs))["target"][0]
    alone = [model.predict(GraphBatch.of_graphs([graph]))["target"][0][0] for graph in graphs]
    backwards = model.predict(GraphBatch.of_graphs(graphs[::-1]))["target"][0][::-1]
    assert together == pytest.approx(alone, abs=CLOSE)
    assert together == pytest.approx(backwards, abs=CLOSE)


def test_quotient_predicts_as_the_whole_graph(tmp_path: Path) -> None:
    model, _ = imported(tmp_path)
    whole = [original_graph(crystal) for crystal in crystals()]
    small = [Rule.of(model.settings).graph(crystal) for crystal in crystals()]
    assert sum(len(graph.source) for graph in small) < sum(len(graph.source) for graph in whole) / 2
    predicted = [model.predict(GraphBatch.of_graphs(graphs))["target"][0] for graphs in (whole, small)]
    assert predicted[1] == pytest.approx(predicted[0], abs=CLOSE)


def test_ties_are_cut_by_the_order_of_atoms_as_published() -> None:
    one, other = (original_graph(crystal) for crystal in crystals()[:2])
    assert np.bincount(one.target).tolist() == [12] * 5
    kept = [sorted(zip(g.numbers[g.target], g.numbers[g.source], strict=True)) for g in (one, other)]
    assert kept[0] != kept[1]


def test_missing_neighbours_are_atom_0() -> None:
    graph = original_graph(crystals()[5])
    padded = graph.distance == 9
    assert (padded.sum(), set(graph.source[padded])) == (22, {0})


def test_the_command_writes_a_model_that_says_what_it_is(tmp_path: Path) -> None:
    path, tensors = write_checkpoint(tmp_path, data_options=["mp.json", "regression", "band_gap"], train_size=12)
    arguments = ["import", str(path), "--atom-init", str(tmp_path / "atom_init.json"), "-o", str(tmp_path / "gap")]
    assert CliRunner(catch_exceptions=False).invoke(app, arguments).exit_code == 0
    model = load(tmp_path / "gap")
    assert (model.card.name, model.card.input, model.card.training_size) == ("gap", "structure", 12)
    assert (model.card.targets[0].name, model.card.targets[0].unit) == ("band_gap", "eV")
    assert (model.settings.graphs, model.card.metrics[0].value) == ("original", 0.25)
    expected = float(published(tensors, crystals()[2])) * 2.5 - 1.5
    assert model.predict(GraphBatch.of_graphs([original_graph(crystals()[2])]))["band_gap"][0] == pytest.approx(
        [expected], abs=CLOSE
    )


def test_element_without_vector_predicts_nothing(tmp_path: Path) -> None:
    model, _ = imported(tmp_path)
    graphs = [original_graph(Structure(Lattice.cubic(3), [symbol], [[0, 0, 0]])) for symbol in ("Es", "Fe")]
    assert np.isnan(model.predict(GraphBatch.of_graphs(graphs))["target"][0]).tolist() == [True, False]


def test_deuterium_is_hydrogen() -> None:
    heavy, light = (Structure(Lattice.cubic(3), [symbol], [[0, 0, 0]]) for symbol in ("D", "H"))
    assert original_graph(heavy).numbers.tolist() == original_graph(light).numbers.tolist() == [1]
    assert CrystalGraph.from_structure(heavy).numbers.tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"enable_tanh": True}, "enable_tanh"), ({"radius": 6.0}, "radius is 6"), ({"task": "classification"}, "network")],
)
def test_checkpoint_of_another_network_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path, _ = write_checkpoint(tmp_path)
    content = torch.load(path, weights_only=False)
    content["args"] |= changes
    if "task" in changes:
        content["state_dict"].pop("fc_out.weight")
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        import_model(read_checkpoint(path), read_atom_init(tmp_path / "atom_init.json"), "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["state_dict"]["convs.0.fc_full.bias"].fill_(float("nan")), "convs.0.fc_full.bias has numbers"),
        (lambda c: c["state_dict"]["fc_out.weight"].fill_(float("inf")), "fc_out.weight has numbers"),
        (lambda c: c["state_dict"]["convs.0.bn1.running_var"].fill_(-1), "negative variances"),
        (lambda c: c["normalizer"].update(std=torch.tensor(0.0)), "the deviation 0"),
        (lambda c: c["normalizer"].update(std=torch.tensor(-1.0)), "the deviation -1"),
        (lambda c: c["normalizer"].update(std=torch.tensor(float("nan"))), "the deviation nan"),
        (lambda c: c["normalizer"].update(mean=torch.tensor(float("nan"))), "the mean nan"),
        (lambda c: c["args"].update(radius="far"), "not the published network"),
        (lambda c: c["args"].update(max_num_nbr=[]), "not the published network"),
        (lambda c: c["args"].update(train_size="many"), "not the published network"),
        (lambda c: c["args"].update(data_options=3), "not the published network"),
        (lambda c: c["state_dict"].update({"embedding.weight": torch.zeros(())}), "not the published network"),
        (lambda c: c["state_dict"].update({"conv_to_fc.weight": torch.zeros(3, 0)}), "not the published network"),
        (lambda c: c.update(args=None), "not a checkpoint"),
        (lambda c: c.update(state_dict={"a": 3}), "not a checkpoint"),
    ],
)
def test_checkpoint_of_a_failed_training_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path, _ = write_checkpoint(tmp_path)
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        import_model(read_checkpoint(path), read_atom_init(tmp_path / "atom_init.json"), "mine")


def test_other_element_vectors_are_refused(tmp_path: Path) -> None:
    path, _ = write_checkpoint(tmp_path)
    with pytest.raises(UserError, match="`atom_init` has 3"):
        import_model(read_checkpoint(path), torch.zeros(101, 3), "mine")


@pytest.mark.parametrize("content", [None, b"", b"text", {"epoch": 1}, {"state_dict": {}, "normalizer": {}, "args": 1}])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"x\.pth\.tar"):
        read_checkpoint(path)


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, _ = write_checkpoint(tmp_path, extra=argparse.Namespace())
    with pytest.raises(UserError, match="not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"a": [1]}', '{"1": [1], "2": [1, 2]}', '{"1": "x"}'])
def test_atom_init_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "atom_init.json"
    path.write_text(content)
    with pytest.raises(UserError, match="not element vectors"):
        read_atom_init(path)


def test_missing_atom_init_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_atom_init(tmp_path / "atom_init.json")
