"""Every kernel gives what the reference network gives, for every kind of network and every shipped model."""

import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.data.build import Rule
from cgcnn.elements import atomic_number
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import PROTOTYPES, Prototype
from cgcnn.models.card import shipped
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.kernel import fold
from cgcnn.network.numpy_kernel import GraphLayout, NumpyKernel
from cgcnn.network.settings import CLOSE, Settings
from cgcnn.network.template_kernel import TemplateKernel, instruction_sets
from cgcnn.network.torch_kernel import TorchKernel
from cgcnn.testing import untrained, untrained_for_structures

SETTINGS = Settings(targets=("energy", "gap", "metal"), width=8, layers=2, hidden=6, gaussians=12, binary=("metal",))
KINDS = list(product(("gated", "simple", "edges"), ("mean", "sum", "max", "linear"), ("shells", "original")))
KERNELS = {"numpy": lambda model: NumpyKernel(fold(model.settings, model.members))}


def model_of(convolution: str, pooling: str, graphs: str = "shells") -> Model:
    """A network whose norms, targets and second member are not what every new network has."""
    settings = replace(SETTINGS, convolution=convolution, pooling=pooling, graphs=graphs, hidden_layers=2)
    model = untrained_for_structures(settings)
    rng = np.random.default_rng(0)
    for member in model.members:
        for name, array in member.items():
            if name.rpartition(".")[2] in {"variance", "scale", "target_std"}:
                array[:] = rng.uniform(0.5, 2, array.shape)
            if name.rpartition(".")[2] in {"mean", "shift", "target_mean"}:
                array[:] = rng.normal(size=array.shape)
    return Model(model.card, model.members)


def reference(model: Model) -> TorchKernel:
    return TorchKernel(model.settings, model.members)


def expected_of(model: Model, prototype: Prototype, species: np.ndarray, a: np.ndarray) -> np.ndarray:
    """What the reference says of the graphs of candidates."""
    return reference(model).predict(GraphBatch.of_prototype(prototype, species, a, model.settings.neighbours))


def assert_close(model: Model, found: np.ndarray, expected: np.ndarray, atoms: int = 1) -> None:
    unit = np.maximum([member["target_std"] for member in model.members], 1)[:, None]
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= CLOSE * unit * atoms).all()


@pytest.fixture(scope="module")
def crystals(rutile: Structure) -> list[Structure]:
    salt = Structure(Lattice.cubic(3.6), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    perovskite = PROTOTYPES["cubic-perovskite"].structure(np.array([56, 22, 8, 7, 9]), 4.0)
    return [rutile, salt, Structure(Lattice.cubic(2.9), ["Fe"], [[0, 0, 0]]), perovskite]


@pytest.fixture(scope="module")
def candidates() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each prototype more than two blocks of candidates, of every pattern of equal elements."""
    rng, found = np.random.default_rng(1), {}
    for name, prototype in PROTOTYPES.items():
        species = rng.choice([7, 8, 9, 22, 40, 56], (300, len(prototype.sites))).astype(np.uint8)
        found[name] = species, rng.uniform(3.5, 5, len(species)).astype(np.float32)
    return found


def graphs_of(model: Model, crystals: list[Structure]) -> GraphBatch:
    return GraphBatch.of_graphs([Rule.of(model.settings).graph(crystal) for crystal in crystals])


def graphs_for(model: Model, crystals: list[Structure], candidates: dict) -> GraphBatch:
    """Graphs that the model reads: those of crystals, or of candidates where it reads the roles of sites."""
    if not model.settings.sites:
        return graphs_of(model, crystals)
    return GraphBatch.of_prototype(*cells_of(PROTOTYPES[model.card.prototypes[0]], candidates))


def cells_of(prototype: Prototype, candidates: dict) -> tuple[Prototype, np.ndarray, np.ndarray]:
    return prototype, *candidates[prototype.name]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("convolution", "pooling", "kind"), KINDS)
def test_graphs_are_predicted_as_by_the_reference(
    kernel: str, convolution: str, pooling: str, kind: str, crystals: list[Structure]
) -> None:
    model = model_of(convolution, pooling, kind)
    batch = graphs_of(model, crystals)
    expected = reference(model).predict(batch)
    assert len(np.unique(expected.round(3))) > 6
    assert_close(model, KERNELS[kernel](model).predict(batch), expected, atoms=10 if pooling == "sum" else 1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
@pytest.mark.parametrize(
    ("convolution", "pooling"), [("gated", "mean"), ("gated", "max"), ("simple", "sum"), ("edges", "linear")]
)
def test_candidates_are_predicted_as_by_the_reference(
    kernel: str, convolution: str, pooling: str, prototype: Prototype, candidates: dict
) -> None:
    model, cells = model_of(convolution, pooling), cells_of(prototype, candidates)
    expected = expected_of(model, *cells)
    assert_close(model, KERNELS[kernel](model).predict_cells(*cells), expected, atoms=10 if pooling == "sum" else 1)


FOR_CANDIDATES = KERNELS | {
    "template": lambda model: TemplateKernel(fold(model.settings, model.members)),
    "torch": lambda model: TorchKernel(model.settings, model.members),
}
READOUTS = {
    "sites": {"sites": 5},
    "spread of B": {"sites": 5, "site_spread": True},
    "silu": {"activation": "silu", "hidden_layers": 2},
    "mixture": {"mixture": ("energy", "gap", "other", "metal"), "sites": 16, "activation": "silu", "hidden_layers": 2},
    "no hidden layer": {"sites": 17, "hidden_layers": 0},
    "no graph": {"sites": 6, "layers": 0},
}


def model_with_readout(readout: str, prototype: Prototype) -> Model:
    settings = replace(SETTINGS, targets=("energy", "gap", "other", "metal"), **READOUTS[readout])
    model = untrained(prototype, {"A": ["Ba", "Ti"], "B": ["Ti", "Zr"], "X": ["N", "O", "F"]}, settings)
    rng = np.random.default_rng(0)
    for member in model.members:
        member["target_mean"][:3], member["target_std"][:3] = 0.5, 2.0  # a mixed target and its parts have one scale
        if "sites.learned" in member:
            member["sites.learned"][:] = rng.normal(size=member["sites.learned"].shape)
    return Model(model.card, model.members, model.domain)


@pytest.mark.parametrize("kernel", FOR_CANDIDATES)
@pytest.mark.parametrize("prototype", PROTOTYPES.values(), ids=PROTOTYPES)
@pytest.mark.parametrize("readout", READOUTS)
def test_readouts_are_those_of_the_reference(kernel: str, prototype: Prototype, readout: str, candidates: dict) -> None:
    if kernel == "template" and (not instruction_sets() or readout == "no graph"):
        pytest.skip("nothing was compiled")
    model, cells = model_with_readout(readout, prototype), cells_of(prototype, candidates)
    expected, ready = expected_of(model, *cells), FOR_CANDIDATES[kernel](model)
    assert expected.std(axis=1).min() > 1e-3
    assert_close(model, ready.predict_cells(*cells), expected)
    batch = GraphBatch.of_prototype(*cells)
    assert_close(model, ready.predict(batch), expected)
    assert_close(model, reference(model).predict(batch.select(np.arange(7, 90))), expected[:, 7:90])


def test_a_mixed_target_is_between_its_parts(candidates: dict) -> None:
    prototype = PROTOTYPES["double-perovskite"]
    model = model_with_readout("mixture", prototype)
    mixed, yes, no, chance = model.kernel.predict_cells(*cells_of(prototype, candidates)).transpose(2, 0, 1)
    assert np.abs(mixed - (chance * yes + (1 - chance) * no)).max() < 1e-5
    assert np.abs(mixed - yes).max() > 1e-3


@pytest.mark.parametrize("readout", ["sites", "spread of B"])
def test_a_readout_of_sites_does_not_depend_on_the_order_of_b(readout: str, candidates: dict) -> None:
    model = model_with_readout(readout, PROTOTYPES["double-perovskite"])
    kind, species, a = cells_of(PROTOTYPES["double-perovskite"], candidates)
    swapped = model.kernel.predict_cells(kind, species[:, [0, 2, 1, 3]], a)
    assert_close(model, swapped, model.kernel.predict_cells(kind, species, a))


def test_a_readout_of_sites_needs_roles(crystals: list[Structure]) -> None:
    model = model_with_readout("sites", PROTOTYPES["cubic-perovskite"])
    for kernel in (model.kernel, reference(model)):
        with pytest.raises(ValueError, match="roles"):
            kernel.predict(graphs_of(model, crystals))
    prototype = GraphBatch.of_prototype(PROTOTYPES["cubic-perovskite"], np.full((1, 5), 8, np.uint8), np.full(1, 4.0))
    with pytest.raises(ValueError, match="roles"):
        GraphBatch.concatenate([prototype, graphs_of(model, crystals)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", shipped())
def test_shipped_models_predict_as_by_the_reference(
    kernel: str, name: str, crystals: list[Structure], candidates: dict
) -> None:
    model = load(name)
    batch = graphs_for(model, crystals, candidates)
    assert_close(model, KERNELS[kernel](model).predict(batch), reference(model).predict(batch))
    for prototype in model.card.prototypes:
        cells = cells_of(PROTOTYPES[prototype], candidates)
        assert_close(model, KERNELS[kernel](model).predict_cells(*cells), expected_of(model, *cells))
        assert_close(model, reference(model).predict_cells(*cells), expected_of(model, *cells))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("convolution", ["gated", "simple", "edges"])
def test_contributions_are_those_of_the_reference(kernel: str, convolution: str, crystals: list[Structure]) -> None:
    model = model_of(convolution, "linear")
    batch = graphs_of(model, crystals)
    assert_close(model, KERNELS[kernel](model).contributions(batch), reference(model).contributions(batch))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["castelli-relaxed", "castelli", "mp"])
def test_what_else_is_predicted_changes_last_bits_at_most(
    kernel: str, name: str, crystals: list[Structure], candidates: dict
) -> None:
    model = load(name)
    ready, backwards = KERNELS[kernel](model), slice(None, None, -1)
    graphs = graphs_for(model, crystals * 20, candidates)
    whole = ready.predict(graphs)
    assert ready.predict(graphs).tobytes() == whole.tobytes()
    assert_close(model, ready.predict(graphs.select(np.arange(len(graphs))[backwards]))[:, backwards], whole)
    for prototype in model.card.prototypes:
        kind, species, a = cells_of(PROTOTYPES[prototype], candidates)
        whole = ready.predict_cells(kind, species, a)
        assert ready.predict_cells(kind, species, a).tobytes() == whole.tobytes()
        assert_close(model, ready.predict_cells(kind, species[backwards], a[backwards])[:, backwards], whole)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nothing_gives_nothing(kernel: str) -> None:
    model = model_of("gated", "linear")
    ready, shape = KERNELS[kernel](model), (2, 0, 3)
    assert ready.predict(GraphBatch.of_graphs([])).shape == shape
    assert ready.contributions(GraphBatch.of_graphs([])).shape == shape
    none = np.empty((0, 5), dtype=np.uint8), np.empty(0, dtype=np.float32)
    assert ready.predict_cells(PROTOTYPES["cubic-perovskite"], *none).shape == shape


@pytest.mark.parametrize("kernel", KERNELS)
def test_large_values_are_no_accident(kernel: str, crystals: list[Structure]) -> None:
    """Beyond what an exponential can hold."""
    model = model_of("gated", "mean")
    for member in model.members:
        for layer in range(2):
            member[f"convolutions.{layer}.receiver.bias"][:] = np.linspace(-300, 300, 16)
    batch = graphs_of(model, crystals)
    expected = reference(model).predict(batch)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(KERNELS[kernel](model).predict(batch), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_crystals_with_an_element_without_features_get_no_number(kernel: str, crystals: list[Structure]) -> None:
    model = model_of("gated", "mean")
    for member in model.members:
        member["element_features"][atomic_number("Fe")] = np.nan
    found = KERNELS[kernel](model).predict(graphs_of(model, crystals))
    assert np.isnan(found).all(axis=(0, 2)).tolist() == [False, False, True, False]
    assert np.isnan(found).any(axis=(0, 2)).tolist() == [False, False, True, False]


def test_a_node_without_neighbours_sums_nothing() -> None:
    lonely = CrystalGraph(
        numbers=np.array([8, 22], dtype=np.uint8),
        multiplicity=np.array([2, 1], dtype=np.int32),
        source=np.array([0, 0], dtype=np.int32),
        target=np.array([1, 1], dtype=np.int32),
        distance=np.array([1.9, 2.0], dtype=np.float32),
        edge_multiplicity=np.array([4, 2], dtype=np.int32),
    )
    batch = GraphBatch.of_graphs([lonely])
    sums = GraphLayout(batch, np.linspace(0, 8, 12, dtype=np.float32)).sum_over_neighbours(np.ones((2, 1), np.float32))
    assert sums[:, 0].tolist() == [0, 6]
    model = model_of("gated", "mean")
    assert_close(model, model.kernel.predict(batch), reference(model).predict(batch))


def test_members_with_other_gaussians_are_refused() -> None:
    model = model_of("gated", "mean")
    model.members[1]["centres"][:] *= 2
    with pytest.raises(ValueError, match="Gaussians"):
        fold(model.settings, model.members)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_bits_do_not_depend_on_threads(threads: int) -> None:
    code = """
import numpy as np
from cgcnn.models.files import load
model = load("castelli").on("cubic-perovskite")
rows = np.array([[a, b, 8, 8, x] for a in (20, 38, 56, 57) for b in (22, 40, 72, 73) for x in (7, 8, 9)], np.uint8)
print(model.kernel.predict_cells(model.prototype, *model.cells(rows)).tobytes().hex())
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    model = load("castelli").on("cubic-perovskite")
    rows = [[a, b, 8, 8, x] for a in (20, 38, 56, 57) for b in (22, 40, 72, 73) for x in (7, 8, 9)]
    cells = model.cells(np.array(rows, dtype=np.uint8))
    assert found.stdout.strip() == model.kernel.predict_cells(model.prototype, *cells).tobytes().hex()


@pytest.mark.slow
def test_predicting_needs_no_torch(crystals: list[Structure], tmp_path: Path) -> None:
    save(untrained_for_structures(SETTINGS), tmp_path / "model")
    crystals[0].to(str(tmp_path / "rutile.cif"))
    (tmp_path / "sites.csv").write_text("id,A,B,X\nx,Ba,Ti,O\n")
    for data, model in (("rutile.cif", "model"), ("sites.csv", "castelli")):
        arguments = ["predict", data, "--model", model, "--csv", "out.csv", "--workers", "1"]
        run = f"from cgcnn.cli.commands import app; app({arguments}, standalone_mode=False)"
        code = f"import sys; {run}; print('torch' in sys.modules)"
        shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "False"
