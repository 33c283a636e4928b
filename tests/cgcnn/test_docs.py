"""What the pages on the model library show must exist and run."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pymatgen.core import Lattice, Structure

from cgcnn.cli.commands import app
from cgcnn.data.read import kind_of
from cgcnn.files import recipes

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "coming-from-cgcnn.md").read_text(encoding="utf-8")
FIGURES = (DOCS / "figures-of-the-paper.md").read_text(encoding="utf-8")


def invoke(*arguments: object) -> str:
    done = CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_option_shown_exists() -> None:
    commands = "train|predict|evaluate|import|card|explain|learning-curve"
    shown = re.findall(rf"cgcnn ({commands}) ((?:[^`\n&])*)", PAGE + FIGURES)
    assert len(shown) > 9
    for command, rest in shown:
        usage = invoke(command, "--help")
        for option in re.findall(r"--[\w-]+", rest):
            assert option in usage, f"cgcnn {command} {option}"


def test_figures_and_recipes_shown_are_there() -> None:
    for picture in re.findall(r"\]\((.*?\.png)\)", FIGURES):
        assert (DOCS / picture).stat().st_size < 100_000
    for recipe in re.findall(r"--recipe ([\w-]+)", FIGURES):
        assert recipe in recipes()


def test_every_training_option_named_in_the_table_exists() -> None:
    usage = invoke("train", "--help")
    for option in (
        "--split",
        "--sizes",
        "--binary",
        "--epochs",
        "--resume",
        "--fold-column",
        "--test-fold",
        "--patience",
    ):
        assert option in PAGE
        assert option in usage


@pytest.mark.parametrize(
    "name", ["a.json.gz", "a.cif", "POSCAR", "a.jsonl.xz", "a.csv", "a.extxyz", "a.db", "a.cif.bz2"]
)
def test_formats_named_are_known(name: str) -> None:
    assert kind_of(Path(name)) is not None


def test_the_recipe_trains_and_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    recipe = recipe.replace('pooling = "mean"', 'pooling = "linear"').replace("epochs = 100", "epochs = 1")
    (tmp_path / "recipe.toml").write_text(recipe)
    halves = [[0, 0, 0], [0.5, 0.5, 0.5]]
    rows = [
        {"cell": [3.5 + i / 10] * 3 + [90] * 3, "species": ["Na", "Cl"], "frac": halves, "target": i} for i in range(5)
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    invoke("train", "data.jsonl", "--recipe", "recipe.toml", "-o", "MODEL")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space = {"structure": Structure(Lattice.cubic(3.5), ["Na", "Cl"], halves)}
    exec(code, space)  # noqa: S102  # our own page
    assert len(space["contributions"]) == 2
