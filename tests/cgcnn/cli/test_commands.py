import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cgcnn.cli.commands import app
from cgcnn.data.samples import Record
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.card import read_card
from cgcnn.models.files import load, save
from cgcnn.testing import untrained

RECIPE = """
name = "toy"
summary = "A toy."
input = "{kind}"
{prototype}
label = "made up"
data = "made up"
retrain = "none"
validation_folds = [1]
[[targets]]
name = "energy"
unit = "eV"
[network]
width = 8
layers = 1
hidden = 8
gaussians = 12
[fit]
epochs = 2
members = 2
"""


def run(*arguments: object) -> Result:
    return CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])


def in_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cgcnn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def rows() -> list[Record]:
    return [
        {
            "id": f"row-{z}",
            "fold": i % 2,
            "A": SYMBOLS[z],
            "B": "Ti",
            "X": ["O", "O", "N"],
            "cell": [3.9 + i / 100] * 3 + [90.0] * 3,
            "species": [SYMBOLS[z], "Ti", "O", "O", "N"],
            "frac": list(CUBIC_PEROVSKITE.frac),
            "energy": z / 10,
        }
        for i, z in enumerate((56, 20, 38, 57, 39, 12))
    ]


@pytest.fixture
def data(rows: list[Record], tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(folder: Path, kind: str) -> Path:
    prototype = 'prototypes = ["cubic-perovskite"]' if kind == "prototype" else ""
    path = folder / "toy.toml"
    path.write_text(RECIPE.format(kind=kind, prototype=prototype))
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prototype", "structure"])
def test_train_then_predict_keeps_the_order(kind: str, data: Path, rows: list[Record], tmp_path: Path) -> None:
    trained = run("train", data, "--recipe", recipe(tmp_path, kind), "-o", tmp_path / "toy")
    assert trained.exit_code == 0, trained.output
    assert read_card(tmp_path / "toy").metrics[0].split == "fold 1, by an ensemble fitted without it"
    assert not (tmp_path / "toy.training").exists()
    assert run("predict", data, "--model", tmp_path / "toy", "--csv", tmp_path / "out.csv").exit_code == 0
    forwards = table(tmp_path / "out.csv")
    assert [row["id"] for row in forwards] == [row["id"] for row in rows]
    assert list(forwards[0]) == ["id", "prediction", "std"]
    data.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    assert run("predict", data, "--model", tmp_path / "toy", "--csv", tmp_path / "back.csv").exit_code == 0
    for row, other in zip(forwards, reversed(table(tmp_path / "back.csv")), strict=True):
        assert row["id"] == other["id"]
        assert float(row["prediction"]) == pytest.approx(float(other["prediction"]), abs=1e-4)


def test_prototype_prediction_ignores_the_relaxed_crystal(data: Path, rows: list[Record], tmp_path: Path) -> None:
    save(untrained(CUBIC_PEROVSKITE, {}), tmp_path / "model")
    run("predict", data, "--model", tmp_path / "model", "--csv", tmp_path / "with.csv")
    bare = [{key: row[key] for key in ("id", "A", "B", "X")} for row in rows]
    data.write_text("".join(json.dumps(row) + "\n" for row in bare))
    run("predict", data, "--model", tmp_path / "model", "--csv", tmp_path / "without.csv")
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_single_member_has_no_std(data: Path, tmp_path: Path) -> None:
    save(untrained(CUBIC_PEROVSKITE, {}, members=1), tmp_path / "model")
    assert run("predict", data, "--model", tmp_path / "model", "--csv", tmp_path / "out.csv").exit_code == 0
    assert list(table(tmp_path / "out.csv")[0]) == ["id", "prediction"]


def test_another_target_can_be_predicted(data: Path, tmp_path: Path) -> None:
    save(untrained(CUBIC_PEROVSKITE, {}), tmp_path / "model")
    outputs = [tmp_path / f"{name}.csv" for name in ("e_above_hull", "a")]
    for path in outputs:
        run("predict", data, "--model", tmp_path / "model", "--target", path.stem, "--csv", path)
    assert outputs[0].read_bytes() != outputs[1].read_bytes()


@pytest.mark.slow
def test_training_without_recipe_takes_structures(data: Path, tmp_path: Path) -> None:
    options = ("--target", "energy", "--epochs", 1, "--members", 1, "--seed", 3)
    assert run("train", data, *options, "-o", tmp_path / "plain").exit_code == 0
    card = load(tmp_path / "plain").card
    assert (card.input, card.members, card.settings.targets, card.training_size) == ("structure", 1, ("energy",), 4)
    assert card.split == "random 60/20/20 split, seed 3"


def test_training_without_recipe_needs_a_target(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pass `target` or `binary`"):
        run("train", data, "-o", tmp_path / "plain")


@pytest.mark.slow
def test_unfinished_training_is_only_continued_on_request(data: Path, tmp_path: Path) -> None:
    from cgcnn.data.read import read
    from cgcnn.training.data import prepare
    from cgcnn.training.fit import claim
    from cgcnn.training.recipe import read_recipe

    path = recipe(tmp_path, "prototype")
    claim(tmp_path / "toy.training", prepare(read(data), read_recipe(path)).table, read_recipe(path), resume=False)
    refused = in_process("train", data, "--recipe", path, "-o", tmp_path / "toy")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "--resume" in refused.stderr
    assert run("train", data, "--recipe", path, "-o", tmp_path / "toy", "--resume").exit_code == 0
    assert not (tmp_path / "toy.metrics.json").exists()  # the recipe has a check of its own


def test_card_shows_what_a_user_must_know() -> None:
    shown = run("card", "castelli")
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    for phrase in ("eV/atom", "RPBE", "fold 4", "prototype input", "cgcnn train", read_card("castelli").digest[:8]):
        assert phrase in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nothing.jsonl", "--model", "castelli", "--csv", "x.csv"], "nothing.jsonl"),
        (["predict", "nothing.jsonl", "--model", "nothing", "--csv", "x.csv"], "castelli"),
        (["card", "nothing"], "no such model"),
        (["train", "nothing.jsonl", "-o", "x"], "nothing.jsonl: no such file"),
        (["evaluate", "nothing.jsonl", "--model", "castelli"], "nothing.jsonl: no such file"),
    ],
)
def test_user_errors_are_one_line_and_exit_1(arguments: list[str], message: str) -> None:
    done = in_process(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("cgcnn: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


@pytest.mark.slow
def test_unwritable_csv_is_one_line(data: Path, tmp_path: Path) -> None:
    done = in_process("predict", data, "--model", "castelli", "--csv", tmp_path / "missing" / "out.csv")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.slow
def test_debug_shows_the_traceback() -> None:
    done = in_process("card", "nothing", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["train"], ["predict", "x"], ["nothing"], ["card", "castelli", "--colour"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert in_process(*arguments).returncode == 2


@pytest.mark.slow
def test_help_needs_no_heavy_imports() -> None:
    assert in_process("--help").returncode == 0
    code = "import sys, cgcnn.cli.commands; print({'torch', 'pymatgen', 'numpy', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_card_draws_how_often_intervals_hold(tmp_path: Path) -> None:
    picture = tmp_path / "reliability.png"
    assert run("card", "castelli", "--plot", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    model = save(untrained(CUBIC_PEROVSKITE, {}), tmp_path / "untrained")
    with pytest.raises(UserError, match="its card has no reliability"):
        run("card", model, "--plot", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_predictions_may_go_to_standard_output(tmp_path: Path) -> None:
    (tmp_path / "bad.cif").write_text("none")
    (tmp_path / "data.jsonl").write_text('{"A": "Ba", "B": "Ti", "X": "O"}\n{"A": "?"}\n')
    done = in_process("predict", tmp_path / "data.jsonl", "--model", "castelli", "--csv", "/dev/stdout")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "id,prediction,std")
    assert len(done.stdout.splitlines()) == 3
    assert "all reasons" not in done.stderr
    assert not Path("/dev/stdout.failures.csv").exists()


@pytest.mark.slow
def test_a_folder_is_predicted_and_trained_on_again_without_what_was_written_into_it(
    data: Path, rows: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data.parent / "inputs"
    folder.mkdir()
    monkeypatch.chdir(data.rename(folder / data.name).parent)
    (folder / ".hidden.csv").write_text("a,b")
    (folder / data.name).write_text(
        "".join(json.dumps(row | {"energy": row["energy"] if i else None}) + "\n" for i, row in enumerate(rows))
    )
    train = ("train", ".", "--target", "energy", "--split", "3/1/1", "--epochs", 1, "--no-cache", "-o", "model")
    predict = ("predict", ".", "--model", "model", "--csv", "out.csv", "--no-cache", "--strict")
    for _ in range(2):
        trained = run(*train)
        assert trained.exit_code == 0, trained.output
        assert "1 of 6 crystals have no label, such as row-56; training without them" in trained.stderr
        predicted = run(*predict)
        assert predicted.exit_code == 0, predicted.output
        assert [row["id"] for row in table(folder / "out.csv")] == [row["id"] for row in rows]
    assert "note: skipped 8 outputs or hidden files, such as" in predicted.stderr


def test_a_dash_writes_to_standard_output(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(untrained(CUBIC_PEROVSKITE, {}), tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    for command in ("predict", "evaluate"):
        target = ("--label", "energy") if command == "evaluate" else ()
        run(command, data, "--model", "model", "--csv", "file.csv", *target)
        shown = in_process(command, data, "--model", "model", "--csv", "-", *target)
        assert shown.stdout == Path("file.csv").read_text(), shown.stderr  # nothing else, whatever there is to say
        Path("file.csv").unlink()
    shown = in_process("evaluate", data, "--model", "model", "--label", "energy", "--json", "-")
    assert json.loads(shown.stdout)["rows"] == 6
    assert {path.name for path in tmp_path.iterdir()} == files


def test_two_outputs_to_standard_output_are_refused(data: Path, tmp_path: Path) -> None:
    save(untrained(CUBIC_PEROVSKITE, {}), tmp_path / "model")
    with pytest.raises(UserError, match=r"`json`: goes to stdout, as `csv` does"):
        run("evaluate", data, "--model", tmp_path / "model", "--label", "energy", "--csv", "-", "--json", "-")


@pytest.mark.parametrize(
    "line",
    [
        ("train", "data.jsonl", "--target", "energy", "-o", "-"),
        ("learning-curve", "data.jsonl", "--recipe", "castelli", "--sizes", "9", "-o", "-"),
        ("import", "old.pth.tar", "--atom-init", "atom_init.json", "-o", "-"),
        ("explain", "castelli-linear", "-o", "-"),
        ("card", "castelli", "--plot", "-"),
        ("evaluate", "data.jsonl", "--model", "castelli", "--plot", "-"),
    ],
    ids=" ".join,
)
def test_what_cannot_go_to_standard_output_needs_a_name(line: tuple[str, ...]) -> None:
    done = run(*line)
    assert done.exit_code == 2
    assert "cannot go to standard output" in done.output
