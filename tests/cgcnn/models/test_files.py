"""Model files that are damaged, odd or hostile are refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.arrays import shapes
from cgcnn.models.card import shipped
from cgcnn.models.files import load, save
from cgcnn.network.reference import CGCNN
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained, untrained_for_structures

SMALL = {"targets": ("gap", "a"), "width": 6, "layers": 2, "hidden": 5, "gaussians": 9}


@pytest.mark.parametrize("convolution", ["gated", "simple", "edges"])
@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "linear"])
@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
def test_shapes_are_those_of_the_reference(convolution: Any, pooling: Any, hidden_layers: int) -> None:
    settings = Settings(**SMALL, convolution=convolution, pooling=pooling, hidden_layers=hidden_layers)
    state = CGCNN(settings, torch.zeros(101, 7)).state_dict()
    assert shapes(settings, 7) == {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("name", shipped())
def test_shipped_models_are_sound(name: str) -> None:
    assert load(name).card.name == name


def set_to(value: float) -> Any:
    return lambda array: np.full_like(array, value)


@pytest.mark.parametrize(
    ("array", "change", "message"),
    [
        ("members.0.embed.weight", None, "no array embed.weight"),
        ("members.1.convolutions.1.sender.weight", None, "no array convolutions.1.sender.weight"),
        ("members.0.embed.weight", np.transpose, "embed.weight is float32"),
        ("members.0.embed.weight", lambda a: a.astype(np.float64), "float64"),
        ("members.0.embed.weight", lambda a: a.astype(np.int32), "int32"),
        ("members.0.embed.weight", set_to(np.nan), "not finite"),
        ("members.0.element_features", lambda a: a[:50], "element_features is float32"),
        ("members.0.element_features", np.ravel, "element_features is float32"),
        ("members.0.target_std", set_to(0), "deviation"),
        ("members.0.convolutions.0.edge_norm.variance", set_to(-1), "variance is negative"),
        ("members.0.more", lambda _: np.zeros(3, np.float32), "foreign array more"),
        ("domain.trained", None, "no array domain.trained"),
        ("domain.trained", lambda a: a.astype(np.float32), "domain.trained is float32"),
        ("domain.lattice", lambda a: a[:1], "domain.lattice is float32"),
        ("domain.lattice_range", set_to(np.inf), "not finite"),
        ("domain.ids", lambda _: np.zeros((3, 4), np.uint8), "not uint8 of 0 rows"),
        ("domain.bounds", lambda _: np.zeros(3, np.bool_), "domain.bounds is bool"),
        ("domain.more", lambda _: np.zeros(3, np.float32), "foreign array domain.more"),
    ],
)
def test_odd_arrays_are_named(tmp_path: Path, array: str, change: Any, message: str) -> None:
    path = save(untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]}), tmp_path / "odd")
    arrays = load_file(path)
    if change is None:
        del arrays[array]
    else:
        arrays[array] = np.ascontiguousarray(change(arrays.get(array, np.empty(0))))
    save_file(arrays, path)
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings.layers", 10**9),
        ("settings.layers", 0),
        ("settings.width", 10**9),
        ("settings.hidden_layers", 10**9),
        ("settings.gaussians", 1),
        ("settings.radius", 1e300),
        ("settings.neighbours", -1),
        ("settings.convolution", "none"),
        ("settings.targets", []),
        ("members", 10**9),
        ("members", 0),
        ("members", 3),
        ("targets", []),
        ("prototypes", ["none"]),
        ("input", "prototype"),
        ("format", 99),
    ],
)
@pytest.mark.timeout(20)
def test_odd_cards_are_named(tmp_path: Path, key: str, value: Any) -> None:
    path = save(untrained_for_structures(Settings(**SMALL)), tmp_path / "odd")
    card = json.loads(path.with_suffix(".json").read_text())
    *outer, last = key.split(".")
    (card[outer[0]] if outer else card)[last] = value
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(UserError) as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gap-0.5", "gap-0.5.safetensors", "gap-0.5.json"])
def test_a_dot_in_a_name_begins_no_suffix(tmp_path, name):
    model = untrained(CUBIC_PEROVSKITE, {"A": ("Sr",), "B": ("Ti",), "X": ("O",)})
    assert save(model, tmp_path / name) == tmp_path / "gap-0.5.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gap-0.5.json", "gap-0.5.safetensors"]
    for asked in ("gap-0.5", "gap-0.5.json", "gap-0.5.safetensors"):
        assert load(tmp_path / asked).digest == model.digest
