"""Training on splits and measuring, from the command line."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from cgcnn.cli.commands import app
from cgcnn.data.samples import from_record
from cgcnn.elements import element_features
from cgcnn.errors import UserError
from cgcnn.inference.evaluate import evaluate
from cgcnn.models.card import read_card
from cgcnn.models.files import load
from cgcnn.network.reference import CGCNN
from cgcnn.training.data import prepare
from cgcnn.training.fit import Examples, FitTask, fit, loss_on
from cgcnn.training.recipe import Fit, plain_recipe

CATIONS = ["Na", "K", "Mg", "Ca", "Sr", "Li", "Rb", "Cs"]
RECIPE = """
name = "salts"
summary = "A toy."
input = "structure"
label = "made up"
data = "made up"
retrain = "none"
[[targets]]
name = "energy"
unit = "eV"
[[targets]]
name = "halide"
unit = "probability"
kind = "binary"
[network]
width = 8
layers = 1
hidden = 8
gaussians = 12
convolution = "simple"
[fit]
epochs = 3
batch_size = 8
members = 2
"""


def salts() -> list[dict]:
    rows = []
    for i, (metal, other) in enumerate((m, x) for m in CATIONS for x in ("Cl", "Br", "O", "S")):
        row = {"id": f"{metal}{other}", "fold": i % 4, "cell": [3.5, 3.5, 3.5, 90, 90, 90], "species": [metal, other]}
        row |= {"frac": [[0, 0, 0], [0.5, 0.5, 0.5]], "energy": i / 10, "halide": int(other in {"Cl", "Br"})}
        rows.append(row)
    rows[4]["energy"] = rows[4]["halide"] = None  # no label at all
    rows[5]["energy"] = None
    rows[7]["cell"] = None  # broken
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "salts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in salts()))
    (tmp_path / "salts.toml").write_text(RECIPE)
    return tmp_path


def train(folder: Path, *options: object) -> Result:
    arguments = ["train", folder / "salts.jsonl", "--recipe", folder / "salts.toml", "-o", folder / "model", *options]
    return CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_training_writes_best_and_last_weights_and_what_was_measured(folder: Path) -> None:
    done = train(folder, "--seed", 4)
    assert done.exit_code == 0, done.output
    assert "1 of 32 crystals failed; the first is KS" in done.stderr
    metrics = json.loads((folder / "model.metrics.json").read_text())
    assert metrics["rows"] == {"train": 18, "validation": 6, "test": 6}
    assert metrics["digest"] == load(folder / "model").digest != load(folder / "model-last").digest
    assert [row["metric"] for row in table(folder / "model.metrics.csv")] == [m["metric"] for m in metrics["metrics"]]
    test = table(folder / "model.test.csv")
    assert list(test[0]) == ["id", "energy", "energy_prediction", "halide", "halide_prediction"]
    history = table(folder / "model.history.csv")
    assert [(row["member"], row["epoch"]) for row in history] == [(str(m), str(e)) for m in (0, 1) for e in (1, 2, 3)]
    shown = {(m.target, m.metric): m.value for m in read_card(folder / "model").metrics}
    errors = [abs(float(r["energy"]) - float(r["energy_prediction"])) for r in test if r["energy"]]
    assert shown["energy", "MAE"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert f"energy MAE {shown['energy', 'MAE']:.4f} eV  test part" in done.stdout
    assert ("halide", "accuracy") in shown


def test_card_figures_are_those_of_evaluating_the_test_rows(folder: Path) -> None:
    train(folder)
    names = {row["id"] for row in table(folder / "model.test.csv")}
    model = load(folder / "model")
    samples = [from_record(row, i) for i, row in enumerate(salts()) if row["id"] in names]
    for target in ("energy", "halide"):
        found = evaluate(model, samples, target).figures
        for metric in (m for m in model.card.metrics if m.target == target and "one member" not in m.metric):
            assert found[metric.metric] == pytest.approx(metric.value, abs=1e-4)


def test_folds_measure_every_row_by_a_member_that_did_not_see_it(folder: Path) -> None:
    assert train(folder, "--folds", 3, "--epochs", 2).exit_code == 0
    model = load(folder / "model")
    assert len(model.members) == 3
    assert json.loads((folder / "model.metrics.json").read_text())["rows"] == {"train": 0, "validation": 0, "test": 30}
    assert len(table(folder / "model.test.csv")) == 30


def test_column_of_folds_is_followed(folder: Path) -> None:
    assert train(folder, "--fold-column", "fold", "--test-fold", 2, "--epochs", 1).exit_code == 0
    expected = [row["id"] for row in salts() if row["fold"] == 2]
    assert [row["id"] for row in table(folder / "model.test.csv")] == expected


def test_everything_may_be_trained_on(folder: Path) -> None:
    assert train(folder, "--split", "100/0/0", "--epochs", 1).exit_code == 0
    assert read_card(folder / "model").training_size == 30
    assert load(folder / "model").digest == load(folder / "model-last").digest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "60/20/20", "--folds", 3], "one way to split"),
        (["--test-fold", 1], "needs `fold_column`"),
        (["--split", "a/b/c"], "three numbers"),
        (["--sizes", "90/1/1"], "at most 30"),
        (["--strict"], "1 of 32 crystals failed"),
        (["--target", "colour"], "no record has the label 'colour'"),
        (["--binary", "fold"], "fold is 2; a binary target is 0 or 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(folder: Path, options: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(folder, *options)
    assert not (folder / "model.training").exists()


def test_resumed_training_needs_the_same_split(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cgcnn.training import members

    with monkeypatch.context() as patch:
        patch.setattr(members, "card", None)  # fails after the fits
        with pytest.raises(TypeError):
            train(folder)
    with pytest.raises(UserError, match="other data or another recipe"):
        train(folder, "--split", "80/10/10", "--resume")
    assert train(folder, "--resume").exit_code == 0
    assert len(table(folder / "model.history.csv")) == 6


@pytest.fixture(scope="module")
def parts() -> tuple[Examples, Examples]:
    rows = [from_record(row, i) for i, row in enumerate(salts()) if row["cell"] and row["energy"] is not None]
    prepared = prepare(rows, plain_recipe("x", "y", ("energy",))).table
    assert prepared.graphs is not None
    everything = np.arange(len(rows))
    halves = [everything[i::2] for i in (0, 1)]
    return tuple(Examples(prepared.graphs.select(rows), torch.from_numpy(prepared.targets[rows])) for rows in halves)


def task(**how) -> FitTask:
    from cgcnn.network.settings import Settings

    settings = Settings(targets=("energy",), width=8, layers=1, hidden=8, gaussians=12)
    network = partial(CGCNN, settings, torch.from_numpy(element_features()))
    return FitTask(network, Fit(**({"batch_size": 8} | how)), torch.ones(1))


def test_best_network_is_that_of_the_lowest_validation_loss(parts: tuple[Examples, Examples]) -> None:
    job = task(epochs=12, learning_rate=0.05)
    fitted = fit(job, parts, 0)
    losses = [checked for _, checked in fitted.history]
    assert loss_on(fitted.best, parts[1], job) == pytest.approx(min(losses), rel=1e-5)
    assert loss_on(fitted.last, parts[1], job) == pytest.approx(losses[-1], rel=1e-5)


def test_validation_does_not_change_what_is_learned(parts: tuple[Examples, Examples]) -> None:
    job = task(epochs=3)
    plain, watched = fit(job, (parts[0], None), 0).last, fit(job, parts, 0).last
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))


def test_training_stops_when_validation_gets_no_better(parts: tuple[Examples, Examples]) -> None:
    losses = [checked for _, checked in fit(task(epochs=60, learning_rate=0.1), parts, 0).history]
    patient = fit(task(epochs=60, learning_rate=0.1, patience=3), parts, 0).history
    stop = next(i for i in range(4, 61) if min(losses[: i - 3]) <= min(losses[i - 3 : i]))
    assert len(patient) == stop < 60


def test_evaluate_shows_figures_and_draws(folder: Path) -> None:
    assert train(folder, "--epochs", 1).exit_code == 0
    options = ["--model", folder / "model", "--json", folder / "e.json", "--csv", folder / "e.csv"]
    for target, plot in (("energy", "parity.svg"), ("halide", "roc.png")):
        arguments = ["evaluate", folder / "salts.jsonl", *options, "--target", target, "--plot", folder / plot]
        done = CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        figures = json.loads((folder / "e.json").read_text())["figures"]
        for name, value in figures.items():
            assert f"{name:9s} {value:.4f}" in done.stdout
        assert (folder / plot).stat().st_size > 5000
    assert set(figures) == {"accuracy", "precision", "recall", "F1", "AUC"}
    assert len(table(folder / "e.csv")) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "colour"], "predicts energy, halide"),
        (["--label", "colour"], "no record has the label 'colour'"),
        (["--plot", "x.docx"], "cannot be drawn"),
        (["--strict"], "1 of 32 crystals failed"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(folder: Path, options: list[str], message: str) -> None:
    train(folder, "--epochs", 1)
    arguments = ["evaluate", str(folder / "salts.jsonl"), "--model", str(folder / "model"), *options]
    with pytest.raises(UserError, match=message):
        CliRunner(catch_exceptions=False).invoke(app, arguments)


def test_unnamed_target_of_a_cgcnn_directory_is_learned_and_measured(tmp_path: Path) -> None:
    from cgcnn.data.crystal import structure

    data = tmp_path / "data"
    data.mkdir()
    rows = [row for row in salts() if row["cell"]][:8]
    for i, row in enumerate(rows):
        sample = from_record(row, i)
        structure(sample.form, sample.content).to(filename=str(data / f"{sample.id}.cif"))
    (data / "id_prop.csv").write_text("".join(f"{row['id']},{i}\n" for i, row in enumerate(rows)))

    def run(*arguments: object) -> Result:
        return CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])

    assert run("train", data, "-o", tmp_path / "m", "--epochs", 1, "--members", 1).exit_code == 0
    done = run("evaluate", data, "--model", tmp_path / "m")
    assert "target of 8 crystals by m" in done.stdout
