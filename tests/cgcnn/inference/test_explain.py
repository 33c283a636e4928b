"""Mean contributions of elements, and their periodic tables."""

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cgcnn.cli.commands import app
from cgcnn.data.composition import composition_keys
from cgcnn.elements import MAX_Z, SYMBOLS, atomic_number
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.inference.explain import check_explains, explain, grid, site_contributions, site_means
from cgcnn.inference.plots import position
from cgcnn.models.files import load, save
from cgcnn.models.model import Model, PrototypeModel
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained, untrained_for_structures

LINEAR = Settings(targets=("energy", "a"), width=8, layers=2, gaussians=12, pooling="linear")
TIGHT = 1e-5


@pytest.fixture(scope="module")
def linear() -> PrototypeModel:
    """Knows three A, two B and two X fillings, but not every combination of them."""
    model = untrained(CUBIC_PEROVSKITE, {}, LINEAR)
    known = np.array([[56, 22, 8, 8, 8], [38, 40, 8, 8, 8], [57, 22, 7, 8, 8]], dtype=np.uint8)
    keys = np.unique(composition_keys(CUBIC_PEROVSKITE.canonical(known)))
    assert model.domain is not None
    return Model(model.card, model.members, replace(model.domain, known=keys)).on("cubic-perovskite")


def test_the_grid_combines_what_training_saw_on_each_role(linear: PrototypeModel) -> None:
    expected = [(a, b, *x) for a, b, x in product((38, 56, 57), (22, 40), ((8, 8, 8), (8, 8, 7)))]
    assert sorted(map(tuple, grid(linear).tolist())) == sorted(expected)


def test_means_are_those_of_the_contributions(linear: PrototypeModel) -> None:
    species = grid(linear)
    values = site_contributions(linear, species)["energy"]
    on_a, _, on_x = site_means(linear)
    strontium = species[:, 0] == 38
    assert on_a.numbers.tolist() == [38, 56, 57]
    assert on_a.mean[0] == pytest.approx(values[strontium, 0].mean(), abs=TIGHT)
    assert on_a.std[0] == pytest.approx(values[strontium, 0].std(), abs=TIGHT)
    assert on_a.prediction[0] == pytest.approx(values[strontium].mean(), abs=TIGHT)
    assert on_a.count.tolist() == [4, 4, 4]
    assert on_x.numbers.tolist() == [7, 8]
    assert on_x.count.tolist() == [6, 30]  # sites, not crystals
    assert on_x.mean[0] == pytest.approx(values[:, 2:][species[:, 2:] == 7].mean(), abs=TIGHT)


def test_means_add_up_to_the_mean_prediction(linear: PrototypeModel) -> None:
    found = site_means(linear, "a")
    total = sum(float((role.mean * role.count).sum()) for role in found)
    species = grid(linear)
    assert total / species.size == pytest.approx(linear.predict(species)["a"][0].mean(), abs=TIGHT)


@pytest.mark.slow
def test_the_command_writes_maps_and_table(linear: PrototypeModel, tmp_path: Path) -> None:
    save(linear.model, tmp_path / "linear")
    done = CliRunner(catch_exceptions=False).invoke(
        app, ["explain", str(tmp_path / "linear"), "-o", str(tmp_path / "out" / "deep")]
    )
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "deep"
    names = {
        "contributions.csv",
        *(f"{what}-{role}.{kind}" for what in ("site", "crystals") for role in "ABX" for kind in ("png", "svg")),
    }
    assert {file.name for file in folder.iterdir()} == names
    assert (folder / "site-A.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "contributions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["element", "site", "contribution", "std", "count", "prediction"]
    assert [(row["element"], row["site"]) for row in rows[:4]] == [("Sr", "A"), ("Ba", "A"), ("La", "A"), ("Ti", "B")]
    assert float(rows[0]["contribution"]) == pytest.approx(site_means(linear)[0].mean[0], abs=TIGHT)


def test_a_model_that_cannot_explain_names_one_that_can(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="castelli-linear, which is for explaining"):
        explain(load("castelli"), tmp_path / "out")
    with pytest.raises(UserError, match='train one with pooling = "linear"'):
        check_explains(untrained_for_structures(replace(LINEAR, pooling="mean")).card)
    assert not (tmp_path / "out").exists()


def test_wrong_models_and_targets_are_one_clear_line(linear: PrototypeModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="predicts energy, a"):
        explain(linear.model, tmp_path, "gap")
    with pytest.raises(UserError, match="takes structures"):
        explain(untrained_for_structures(LINEAR), tmp_path)
    with pytest.raises(UserError, match="training compositions"):
        explain(untrained(CUBIC_PEROVSKITE, {}, LINEAR), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another folder"):
        explain(linear.model, tmp_path / "file")


def test_every_element_has_its_own_cell() -> None:
    cells = {SYMBOLS[z]: position(z) for z in range(1, MAX_Z + 1)}
    assert len(set(cells.values())) == MAX_Z
    expected = {"H": (0, 0), "He": (0, 17), "Be": (1, 1), "B": (1, 12), "Sc": (3, 2), "Zn": (3, 11), "Xe": (4, 17)}
    assert {symbol: cells[symbol] for symbol in expected} == expected
    assert cells["Lu"] == (5, 2)
    assert cells["Hf"] == (5, 3)
    assert cells["Ra"] == (6, 1)
    assert cells["La"][1] == cells["Ac"][1] == 2
    assert position(atomic_number("Yb"))[1] == 15
