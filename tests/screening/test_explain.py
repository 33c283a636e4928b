"""`screen explain`: a run's candidates, site by site."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cgcnn.data.composition import composition_keys
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained
from screening.cli.commands import app

LINEAR = Settings(targets=("e_above_hull", "a"), width=8, layers=2, gaussians=12, pooling="linear")


def run(*arguments: object) -> Result:
    return CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the model library's, tested there, and take longer than the rest."""
    monkeypatch.setattr("cgcnn.inference.explain.draw_elements", lambda *_: None)


@pytest.fixture
def screened(tmp_path: Path) -> Path:
    """A run by a small model that can explain."""
    model = untrained(CUBIC_PEROVSKITE, {"A": ["Ca", "Ba"], "B": ["Ti", "Zr"], "X": ["O", "N"]}, LINEAR)
    known = np.unique(composition_keys(np.array([[20, 22, 8, 8, 8], [56, 40, 7, 7, 7]], dtype=np.uint8)))
    assert model.domain is not None
    save(Model(model.card, model.members, replace(model.domain, known=known)), tmp_path / "linear")
    place = tmp_path / "R.zarr"
    space = ("--a", "Ca,Ba", "--b", "Ti,Zr", "--x", "O,N", "--anions", 2)
    done = run("perovskites", *space, "--model", tmp_path / "linear", "--out", place)
    assert done.exit_code == 0, done.output
    return place


@pytest.mark.slow
def test_the_best_candidates_of_a_run_site_by_site(screened: Path, tmp_path: Path) -> None:
    assert run("rank", screened, "--csv", tmp_path / "ranked.csv").exit_code == 0
    assert run("explain", screened, "--top", 5, "-o", tmp_path / "why").exit_code == 0
    with (tmp_path / "why" / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "ranked.csv").open() as file:
        ranked = list(csv.DictReader(file))[:5]
    assert [(row["index"], row["formula"]) for row in rows] == [(row["index"], row["formula"]) for row in ranked]
    for row, other in zip(rows, ranked, strict=True):
        sites = [float(row[f"{site}_contribution"]) for site in ("A", "B", "X1", "X2", "X3")]
        assert float(row["e_above_hull"]) == pytest.approx(float(other["e_above_hull"]), abs=1e-4)
        assert np.mean(sites) == pytest.approx(float(row["e_above_hull"]), abs=1e-4)
    assert (tmp_path / "why" / "contributions.csv").exists()


@pytest.mark.slow
def test_what_cannot_be_explained_is_one_clear_line(screened: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="castelli-linear, which is for explaining"):
        run("explain", "castelli", "-o", tmp_path / "why")
    with pytest.raises(UserError, match="castelli-linear, which is for explaining"):
        run("explain", screened, "--model", "castelli", "-o", tmp_path / "why")
    with pytest.raises(UserError, match="neither a run nor a model"):
        run("explain", tmp_path / "nothing", "-o", tmp_path / "why")
    assert not (tmp_path / "why").exists()


@pytest.mark.slow
def test_an_explanation_of_an_unfinished_run_says_so(screened: Path, tmp_path: Path) -> None:
    assert "partial" not in run("explain", screened, "-o", tmp_path / "why").output
    space = ("--a", "Ca,Ba", "--b", "Ti,Zr", "--x", "O,N,F,S,Cl,Br,I,Se,H", "--anions", 3, "--block-size", 512)
    place = tmp_path / "two.zarr"
    assert run("perovskites", *space, "--model", tmp_path / "linear", "--out", place).exit_code == 0
    (part,) = place.rglob("part-*.jsonl")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(lines[0])
    assert f"1 of {len(lines)} blocks: partial" in run("explain", place, "-o", tmp_path / "why").output
