"""What the README and the pages beside it show must run, and their figures are those of the models' cards."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cgcnn.cli.commands import app as cgcnn
from screening.cli.commands import app as screen

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCREENING, LIBRARY, COLUMNS, *MORE = (
    (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    for name in (
        "screening",
        "model-library",
        "columns",
        "competing-phases",
        "report",
        "large-spaces",
        "models",
        "filters",
        "known-compounds",
        "chemistry",
    )
)


@pytest.mark.slow
def test_the_python_examples_run():
    examples = re.findall(r"```python\n(.*?)```", README + LIBRARY, re.DOTALL)
    for code, expected in zip(examples, ("BaZrO3", "e_above_hull_std", "3 nodes, 6 edges"), strict=True):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert expected in done.stdout


def test_every_option_shown_exists():
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", "".join((README, SCREENING, LIBRARY, COLUMNS, *MORE)), re.DOTALL))
    shown = re.findall(r"^(screen|cgcnn) ([\w-]+)(.*?)(?:\s+#.*)?$", shell, re.MULTILINE)
    assert len(shown) > 5
    for program, command, rest in shown:
        asked = CliRunner().invoke({"screen": screen, "cgcnn": cgcnn}[program], [command, "--help"])
        usage = asked.stdout
        assert asked.exit_code == 0, f"{program} {command}"
        for option in re.findall(r"--[\w-]+", rest):
            assert option in usage, f"{program} {command} {option}"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "paper.md", "docs/errors.md"])
def test_figures_are_those_of_the_cards(page):
    spec = importlib.util.spec_from_file_location("cards", ROOT / "docs/cards.py")
    cards = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cards)
    assert page in cards.PAGES
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- card " in text
    assert cards.fill(text) == text, "run `python docs/cards.py`"


@pytest.mark.slow
def test_the_example_of_the_page_on_screening_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", SCREENING, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "BaTiO3" in done.stdout
    assert (tmp_path / "r.html").is_file()


def test_every_column_of_a_ranking_is_on_the_page_on_columns():
    import screening

    single = {"a": ["Sr"], "b": ["Ti"], "x": ["O"]}
    columns = {name for model in ("mp", "castelli") for name in screening.score(**single, model=model).columns}
    described = set(re.findall(r"`(\w+)`", COLUMNS))
    assert columns - {"index", "formula", "A", "B", "X", "X1", "X2", "X3"} <= described
