"""Learning curves: nested parts, one command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cgcnn.cli.commands import app
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import recipes
from cgcnn.training import learning_curve as curve
from cgcnn.training.data import nested
from cgcnn.training.recipe import read_recipe

RECIPE = """
name = "{name}"
summary = "A toy."
input = "structure"
label = "made up"
data = "made up"
retrain = "none"
[[targets]]
name = "energy"
unit = "eV"
[network]
width = 4
layers = 1
hidden = 4
gaussians = 8
convolution = "{name}"
[fit]
epochs = 2
members = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty salts, and a recipe for each convolution."""
    halves = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rows = [
        {"cell": [3 + z / 20] * 3 + [90] * 3, "species": [SYMBOLS[z], "Cl"], "frac": halves, "energy": z / 10}
        for z in range(19, 39)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("simple", "gated"):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(name=name))
    return tmp_path


def arguments(folder: Path, *options: object) -> list[str]:
    recipes = ("--recipe", folder / "simple.toml", "--recipe", folder / "gated.toml")
    where = ("-o", folder / "curve", "--workers", 1)
    return [str(x) for x in ("learning-curve", folder / "data.jsonl", *recipes, *where, *options)]


def command(folder: Path, *options: object) -> Result:
    return CliRunner(catch_exceptions=False).invoke(app, arguments(folder, *options))


def test_larger_parts_hold_the_smaller_ones_and_leave_the_held_out_rows_alone() -> None:
    usable = np.arange(40) % 4 > 0
    small, large = (nested(usable, size, 5, seed=1) for size in (7, 20))
    assert set(small.rows("train")) < set(large.rows("train"))
    for name in ("validation", "test"):
        assert small.rows(name).tolist() == large.rows(name).tolist()
        assert len(small.rows(name)) == 5
    assert usable[large.part >= 0].all()
    with pytest.raises(UserError, match="give 1 to 20"):
        nested(usable, 21, 5, seed=1)


def test_the_command_writes_points_and_figure(folder: Path) -> None:
    done = command(folder, "--sizes", "16,4")
    assert done.exit_code == 0, done.output
    with (folder / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["recipe"], row["training"], row["epochs"]) for row in rows] == [
        *(("simple", "4", "4"), ("simple", "16", "2")),
        *(("gated", "4", "4"), ("gated", "16", "2")),
    ]
    assert {(row["metric"], row["unit"], row["test"]) for row in rows} == {("MAE", "eV", "2")}
    assert all(float(row["value"]) > 0 for row in rows)
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "curve.svg").read_text()
    assert not (folder / "curve.training").exists()


def test_an_interrupted_curve_is_continued_to_the_same_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(folder, "--sizes", "4,16")
    whole = (folder / "curve.csv").read_bytes()

    def stop(*arguments: object) -> object:
        if len(list((folder / "curve.training").iterdir())) == 3:
            raise KeyboardInterrupt
        return train(*arguments)

    train = curve.train_table
    with monkeypatch.context() as patch:
        patch.setattr(curve, "train_table", stop)
        assert CliRunner().invoke(app, arguments(folder, "--sizes", "4,16")).exit_code != 0
    with pytest.raises(UserError, match="other data or another recipe"):
        command(folder, "--sizes", "4,16", "--epochs", 3)
    command(folder, "--sizes", "4,16")
    assert (folder / "curve.csv").read_bytes() == whole


def test_sizes_that_are_no_numbers_are_wrong_usage(folder: Path) -> None:
    done = command(folder, "--sizes", "4,many")
    assert done.exit_code == 2
    assert "500,1000,2000" in done.output


def test_every_shipped_recipe_of_structures_learns_a_label_of_another_name(folder: Path) -> None:
    shipped = {name: read_recipe(path) for name, path in recipes().items() if "[[targets]]" in path.read_text()}
    names = [name for name, recipe in shipped.items() if recipe.input == "structure" and not recipe.sources]
    assert len(names) > 5
    line = ["learning-curve", folder / "data.jsonl", "-o", folder / "curve", "--workers", 1, "--sizes", 8]
    line += [word for name in names for word in ("--recipe", name)]
    with pytest.raises(UserError, match=r"no record has the label '.*'; the first has: .*energy"):
        CliRunner(catch_exceptions=False).invoke(app, [str(word) for word in line])
    line += ["--target", "energy", "--epochs", 1]
    assert CliRunner(catch_exceptions=False).invoke(app, [str(word) for word in line]).exit_code == 0
    with (folder / "curve.csv").open() as file:
        assert [(row["recipe"], row["metric"]) for row in csv.DictReader(file)] == [
            (shipped[name].name, "MAE") for name in names
        ]


def test_a_binary_target_is_measured_by_its_auc(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    rows = [row | {"heavy": i % 2} for i, row in enumerate(rows * 3)]
    for i, row in enumerate(rows):
        row["cell"][:3] = [3 + i / 50] * 3
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command(folder, "--sizes", "16", "--binary", "heavy").exit_code == 0
    with (folder / "curve.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"AUC"}


def test_a_recipe_with_sources_of_its_own_reads_these(tmp_path: Path) -> None:
    halves = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rows = [
        {"cell": [3 + z / 20] * 3 + [90] * 3, "species": [SYMBOLS[z], "Cl"], "frac": halves, "e": z / 10}
        for z in range(19, 39)
    ]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = '[[sources]]\nfile = "one.jsonl"\nlabels = { energy = "e" }\n'
    (tmp_path / "simple.toml").write_text(RECIPE.format(name="simple") + source)
    line = ["learning-curve", tmp_path, "--recipe", tmp_path / "simple.toml", "--sizes", 8, "-o", tmp_path / "curve"]
    assert CliRunner(catch_exceptions=False).invoke(app, [str(word) for word in line]).exit_code == 0
