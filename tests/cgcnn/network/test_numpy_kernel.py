"""Predictions without torch are those of the network."""

import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from cgcnn.data.build import Rule
from cgcnn.errors import UserError
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.models.card import Calibration, read_card, shipped
from cgcnn.models.model import Model, load, save
from cgcnn.network.numpy_kernel import CLOSE, FastModel, load_fast
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures

SETTINGS = Settings(targets=("energy", "gap", "metal"), width=8, layers=2, hidden=6, gaussians=12, binary=("metal",))
STRUCTURE_MODELS = [name for name in shipped() if read_card(name).input == "structure"]


@pytest.fixture(scope="module")
def crystals(rutile: Structure) -> list[Structure]:
    salt = Structure(Lattice.cubic(3.6), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [rutile, salt, Structure(Lattice.cubic(2.9), ["Fe"], [[0, 0, 0]])] * 30  # more than one batch


def fast(model: Model, place: Path) -> FastModel:
    return load_fast(save(model, place))


def assert_equal(model: Model, quick: FastModel, graphs: list[CrystalGraph]) -> None:
    slow, quickly = model.predict_graphs(graphs), quick.predict_graphs(graphs)
    unit = dict(zip(model.settings.targets, model.members[0].target_std.tolist(), strict=True))
    assert list(slow) == list(quickly)
    for name, pair in slow.items():
        for expected, found in zip(pair, quickly[name], strict=True):
            assert found.dtype == np.float32
            assert found == pytest.approx(expected, abs=CLOSE * max(unit[name], 1))


@pytest.mark.parametrize(
    ("convolution", "pooling", "kind"),
    list(product(("gated", "simple", "edges"), ("mean", "sum", "max", "linear"), ("shells", "original"))),
)
def test_every_kind_of_network_gives_the_same(
    convolution: str, pooling: str, kind: str, crystals: list[Structure], tmp_path: Path
) -> None:
    settings = replace(SETTINGS, convolution=convolution, pooling=pooling, graphs=kind, hidden_layers=2)
    model = untrained_for_structures(settings)
    if convolution != "edges":
        model.members[0].convolutions[1].node_norm.variance.mul_(3)  # not what every new network has
    model.members[1].target_mean.fill_(0.5)
    graphs = [Rule.of(settings).graph(crystal) for crystal in crystals]
    model = Model(model.card, model.members)
    assert_equal(model, fast(model, tmp_path / "model"), graphs)


@pytest.mark.parametrize("name", STRUCTURE_MODELS)
def test_every_shipped_model_gives_the_same(name: str, crystals: list[Structure]) -> None:
    model = load(name)
    assert_equal(model, load_fast(name), [Rule.of(model.settings).graph(crystal) for crystal in crystals])


def test_calibrated_deviations_are_the_same(crystals: list[Structure], tmp_path: Path) -> None:
    model = untrained_for_structures(SETTINGS)
    found = Calibration(target="gap", scale=2.0, floor=0.1, split="none")
    model = Model(model.card.model_copy(update={"calibrations": (found,)}), model.members)
    assert_equal(model, fast(model, tmp_path / "model"), [Rule.of(SETTINGS).graph(crystal) for crystal in crystals])


def test_elements_without_features_are_known(tmp_path: Path) -> None:
    model = untrained_for_structures(SETTINGS)
    for member in model.members:
        member.element_features[17] = float("nan")
    quick = fast(Model(model.card, model.members), tmp_path / "model")
    assert not quick.covered[17]
    assert quick.covered[1:17].all()


def test_weights_of_another_card_are_refused(tmp_path: Path) -> None:
    save(untrained_for_structures(SETTINGS), tmp_path / "one")
    save(untrained_for_structures(SETTINGS, seed=5), tmp_path / "two")
    (tmp_path / "two.json").rename(tmp_path / "one.json")
    with pytest.raises(UserError, match="copy both files again"):
        load_fast(tmp_path / "one")
    (tmp_path / "one.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a model file"):
        load_fast(tmp_path / "one")


def test_predicting_structures_needs_no_torch(crystals: list[Structure], tmp_path: Path) -> None:
    save(untrained_for_structures(SETTINGS), tmp_path / "model")
    crystals[0].to(str(tmp_path / "rutile.cif"))
    arguments = ["predict", "rutile.cif", "--model", "model", "--csv", "out.csv", "--workers", "1"]
    run = f"from cgcnn.cli.commands import app; app({arguments}, standalone_mode=False)"
    code = f"import sys; {run}; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
