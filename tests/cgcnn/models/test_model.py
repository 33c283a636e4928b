import json
from pathlib import Path

import numpy as np
import pytest

from cgcnn.data.composition import composition_keys
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.card import shipped
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.testing import untrained


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    return save(model, tmp_path / "model")


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".json"])
def test_a_saved_model_predicts_the_same_bits(model: Model, saved: Path, compositions: np.ndarray, suffix: str) -> None:
    loaded = load(saved.with_suffix(suffix))
    assert loaded.digest == model.digest == loaded.card.digest
    for name, estimate in model.on("cubic-perovskite").predict(compositions).items():
        np.testing.assert_array_equal(loaded.on("cubic-perovskite").predict(compositions)[name], estimate)
    np.testing.assert_array_equal(
        loaded.on("cubic-perovskite").in_domain(compositions), model.on("cubic-perovskite").in_domain(compositions)
    )


def test_saving_leaves_two_files(saved: Path) -> None:
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model.json", "model.safetensors"]


def test_card_of_other_weights_is_refused(saved: Path) -> None:
    other = save(untrained(CUBIC_PEROVSKITE, {}, seed=1), saved.parent / "other")
    other.with_suffix(".json").replace(saved.with_suffix(".json"))
    with pytest.raises(UserError, match="not those of the card"):
        load(saved)


def test_changed_settings_are_refused(saved: Path) -> None:
    card = saved.with_suffix(".json")
    content = json.loads(card.read_text())
    content["settings"]["neighbours"] = 8
    card.write_text(json.dumps(content))
    with pytest.raises(UserError, match="not those of the card"):
        load(saved)


def test_flipped_bit_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-100] ^= 1
    saved.write_bytes(content)
    with pytest.raises(UserError, match="not those of the card"):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_file_that_is_no_model_is_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(UserError, match="not a model file"):
        load(saved)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": 3}'])
def test_card_that_is_none_is_refused(saved: Path, content: str) -> None:
    saved.with_suffix(".json").write_text(content)
    with pytest.raises(UserError, match="not a model card"):
        load(saved)


def test_unknown_key_in_a_card_is_refused(saved: Path) -> None:
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"colour": "blue"}))
    with pytest.raises(UserError, match="colour"):
        load(saved)


def test_weights_without_card_are_refused(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="card"):
        load(saved)


def test_unknown_name_lists_the_shipped_models() -> None:
    with pytest.raises(UserError, match="castelli"):
        load("no-such-model")


def test_unwritable_output_is_refused(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        save(model, tmp_path / "missing" / "model")


def test_domain_is_by_site(model: Model) -> None:
    rows = np.array([[56, 22, 8, 8, 8], [22, 56, 8, 8, 8], [56, 22, 8, 8, 16], [57, 40, 9, 8, 7]], dtype=np.uint8)
    assert model.on("cubic-perovskite").in_domain(rows).tolist() == [True, False, False, True]


@pytest.mark.parametrize("shape", [(3, 4), (5,)])
def test_wrong_number_of_sites_is_refused(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="A,B,X1,X2,X3"):
        model.on("cubic-perovskite").predict(np.full(shape, 8, dtype=np.uint8))


@pytest.mark.parametrize("number", [0, 101, 255])
def test_element_without_features_is_refused(model: Model, number: int) -> None:
    with pytest.raises(UserError, match=f"atomic number {number}"):
        model.on("cubic-perovskite").predict(np.array([[56, number, 8, 8, 8]], dtype=np.uint8))


def test_composition_keys_are_one_to_one() -> None:
    rows = np.unique(np.random.default_rng(0).integers(1, 101, (5000, 5)).astype(np.uint8), axis=0)
    assert len(np.unique(composition_keys(rows))) == len(rows)


@pytest.mark.parametrize("name", shipped())
def test_shipped_model_loads_and_is_small(name: str) -> None:
    model = load(name)
    assert shipped()[name].stat().st_size < 8e6
    assert len(model.members) >= 2
    assert model.card.metrics
    row = np.array([56, 22, 8, 8, 8], dtype=np.uint8)
    if model.card.input == "prototype":
        estimates = model.on("cubic-perovskite").predict(row[None])
    else:
        estimates = model.predict_graphs([CUBIC_PEROVSKITE.graph(row, 4.0).quotient()])
    assert all(np.isfinite(value).all() for estimate in estimates.values() for value in estimate)


def test_shipped_castelli_knows_its_training_set_and_lattices() -> None:
    model = load("castelli")
    barium_titanate = np.array([[56, 22, 8, 8, 8]], dtype=np.uint8)
    assert model.on("cubic-perovskite").in_domain(barium_titanate).all()
    assert model.on("cubic-perovskite").predict(barium_titanate)["a"][0] == pytest.approx(
        4.0, abs=0.15
    )  # experiment: 4.00 Å
    assert len(model.domain.known) == model.card.training_size  # type: ignore[union-attr]
