"""Predicting data sets: order, failures, strictness; from the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pymatgen.core import Lattice, Structure

from cgcnn.cli.commands import app
from cgcnn.data.samples import broken, from_record
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.inference.predict import predict_samples
from cgcnn.models.files import save
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained, untrained_for_structures

SETTINGS = Settings(targets=("energy",), width=8, layers=1, hidden=8, gaussians=12)
HALVES = [[0, 0, 0], [0.5, 0.5, 0.5]]


@pytest.fixture(scope="module")
def model() -> Model:
    return untrained_for_structures(SETTINGS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve crystals in a CGCNN directory: one missing, one damaged, one disordered, one of lonely atoms."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = [f"c{i}" for i in (7, 3, 11, 0, 5, 9, 1, 10, 2, 8, 4, 6)]
    for i, name in enumerate(names):
        species = [{"Na": 0.5, "K": 0.5}, "Cl"] if name == "c11" else ["Na", "Cl"]
        crystal = Structure(Lattice.cubic(25 if name == "c9" else 3.4 + i / 10), species, HALVES)
        crystal.to(filename=str(folder / f"{name}.cif"))
    (folder / "c3.cif").write_text("data_\nnothing")
    (folder / "c8.cif").unlink()
    (folder / "id_prop.csv").write_text("".join(f"{name}\n" for name in names))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_bad_crystals_are_rows_with_reasons_and_the_rest_goes_on(data: Path, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = run("predict", data, "--model", save(model, tmp_path / "model"), "--csv", out)
    assert done.exit_code == 0
    assert [row["id"] for row in rows(out)] == [f"c{i}" for i in (7, 3, 11, 0, 5, 9, 1, 10, 2, 8, 4, 6)]
    assert [row["id"] for row in rows(out) if not row["prediction"]] == ["c3", "c11", "c9", "c8"]
    reasons = {row["id"]: row["reason"] for row in rows(tmp_path / "out.failures.csv")}
    for name, reason in {"c3": "not a crystal", "c11": "partially", "c9": "isolated", "c8": "No such file"}.items():
        assert reason in reasons[name]
    assert "4 of 12 crystals failed" in done.stderr
    assert "out.failures.csv" in done.stderr


def test_strict_stops_at_a_bad_crystal(data: Path, model: Model, tmp_path: Path) -> None:
    path = save(model, tmp_path / "model")
    with pytest.raises(UserError, match="the first is c3: not a crystal"):
        run("predict", data, "--model", path, "--csv", tmp_path / "out.csv", "--strict")
    assert not (tmp_path / "out.csv").exists()


def test_nothing_but_failures_is_an_error_that_leaves_the_reasons(data: Path, model: Model, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing could be predicted"):
        run("predict", data / "c3.cif", "--model", save(model, tmp_path / "model"), "--csv", tmp_path / "out.csv")
    assert rows(tmp_path / "out.csv") == [{"id": "c3", "prediction": "", "std": ""}]
    assert [row["id"] for row in rows(tmp_path / "out.failures.csv")] == ["c3"]


def test_old_failures_do_not_stay(data: Path, model: Model, tmp_path: Path) -> None:
    path = save(model, tmp_path / "model")
    (tmp_path / "out.failures.csv").write_text("old")
    assert run("predict", data / "c0.cif", "--model", path, "--csv", tmp_path / "out.csv").exit_code == 0
    assert not (tmp_path / "out.failures.csv").exists()


def test_own_cache_is_used(data: Path, model: Model, tmp_path: Path) -> None:
    options = ("--model", save(model, tmp_path / "model"), "--csv", tmp_path / "out.csv")
    assert run("predict", data, *options, "--cache", tmp_path / "graphs").exit_code == 0
    first = (tmp_path / "out.csv").read_bytes()
    assert (tmp_path / "graphs" / "graphs.sqlite").exists()
    assert run("predict", data, *options, "--cache", tmp_path / "graphs", "--no-cache").exit_code == 0
    assert (tmp_path / "out.csv").read_bytes() == first


def records(n: int) -> list[dict]:
    return [{"id": i, "cell": [3.5 + i / 50] * 3 + [90] * 3, "species": ["Na", "Cl"], "frac": HALVES} for i in range(n)]


def energies(model: Model) -> np.ndarray:
    return predict_samples(model, [from_record(row, i) for i, row in enumerate(records(20))]).estimates["energy"][0]


def test_a_record_that_cannot_be_predicted_is_named(model: Model) -> None:
    broken = {**records(2)[1], "cell": None}
    found = predict_samples(model, [from_record(row, i) for i, row in enumerate([records(1)[0], broken])])
    assert list(found.failures) == [1]
    assert found.failures[1].startswith("not a crystal")


def test_element_that_the_model_lacks_is_a_failure() -> None:
    lacking = untrained_for_structures(SETTINGS)
    for member in lacking.members:
        member["element_features"][17] = np.nan
    potassium = {**records(1)[0], "species": ["Na", "K"]}
    found = predict_samples(lacking, [from_record(r, i) for i, r in enumerate([records(1)[0], potassium])])
    assert found.failures == {0: "the model has no features of the element Cl"}
    assert np.isnan(found.estimates["energy"][0]).tolist() == [True, False]


def test_crystals_with_an_element_that_training_lacked_are_named() -> None:
    rows = [{**records(1)[0], "species": [metal, "Cl"]} for metal in ("Na", "K", "Na", "Rb")]
    entries = [from_record(row, i) for i, row in enumerate(rows)]
    anything = untrained_for_structures(SETTINGS)
    assert predict_samples(anything, entries).out_of_domain == []
    card = anything.card.model_copy(update={"elements": ("Cl", "Na")})
    assert predict_samples(Model(card, anything.members), entries).out_of_domain == [1, 3]
    site = untrained(CUBIC_PEROVSKITE, {"A": ["Ba"], "B": ["Ti"], "X": ["O"]})
    entries = [from_record({"A": a, "B": "Ti", "X": "O"}, i) for i, a in enumerate(["Ba", "Ti"])]
    assert predict_samples(site, entries).out_of_domain == [1]


def test_prototype_models_name_records_without_sites() -> None:
    entries = [from_record({"A": "Ba", "B": "Ti", "X": "O"}, 0), broken("x", "lost"), from_record({"A": "Ba"}, 2)]
    found = predict_samples(untrained(CUBIC_PEROVSKITE, {}), entries)
    assert list(found.failures) == [1, 2]
    assert "site B" in found.failures[2]
    assert np.isfinite(found.estimates["a"][0]).tolist() == [True, False, False]


def test_all_failures_of_a_prototype_model_are_failures() -> None:
    assert list(predict_samples(untrained(CUBIC_PEROVSKITE, {}), [broken("x", "lost")]).failures) == [0]


def test_predictions_need_no_labels(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records(3)))
    assert run("predict", path, "--model", save(model, tmp_path / "m"), "--csv", tmp_path / "o.csv").exit_code == 0
    assert [row["id"] for row in rows(tmp_path / "o.csv")] == ["0", "1", "2"]


def test_a_warning_counts_crystals_that_the_training_was_not_about(model: Model, tmp_path: Path) -> None:
    card = model.card.model_copy(update={"elements": ("Na",), "name": "sodium"})
    path, data, out = save(Model(card, model.members), tmp_path / "model"), tmp_path / "data.jsonl", tmp_path / "o.csv"
    data.write_text("\n".join(json.dumps(row) for row in records(3)))
    result = CliRunner().invoke(app, ["predict", str(data), "--model", str(path), "--csv", str(out)])
    assert result.exit_code == 0
    assert "warning: 3 of 3 crystals have an element that sodium was not trained on" in result.stderr
