"""`screen report`: one page that says what a run says."""

import csv
import html
import re

import numpy as np
import pytest
from click.testing import CliRunner

from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.cli.commands import app

SETTINGS = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
GRID = ("perovskites", "--a", "Ca,Sr,Ba,U", "--b", "Ti,Zr,Hf", "--x", "O,N", "--anions", 2, "--block-size", 16)


def call(*arguments):
    result = CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path):
    place = tmp_path_factory.mktemp("report") / "R.zarr"
    call(*GRID, "--model", model_path, "--workers", 1, "--out", place)
    return place


@pytest.fixture
def page(run, tmp_path):
    """Write the report with some options; its text, figures left out."""

    def write(*options, of=run):
        call("report", of, "-o", tmp_path / "report.html", *options)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        return html.unescape(re.sub(r"<svg.*?</svg>", "[figure]", text, flags=re.DOTALL))

    return write


@pytest.mark.slow
def test_the_page_says_what_the_ranking_says(run, page, tmp_path):
    def ranked(*options):
        call("rank", run, "--csv", tmp_path / "all.csv", *options)
        with (tmp_path / "all.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    threshold = np.median([float(row["e_above_hull"]) for row in ranked()]).round(3)
    rows, text = ranked("--stable-at", threshold), page("--top", 7, "--stable-at", threshold)
    below = sum(float(row["e_above_hull"]) <= threshold for row in rows)
    expected = sum(float(row["p_stable"]) for row in rows)
    assert 0 < below < len(rows) == 48
    assert f"48 candidates have a predicted energy above hull; <b>{below}</b> of them at or" in text
    assert f"{expected:.1f} are expected there" in text
    assert "12 have an element that the model never saw" in text
    listed = re.findall(r"<tr><td>\d+</td>.*?</tr>", text)
    assert [re.findall(r"<td>(.*?)</td>", row) for row in listed] == [list(row.values()) for row in rows[:7]]
    assert text.count("[figure]") == 2
    assert "The best of each pair of A and B" in text


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(run, tmp_path):
    for name in ("one.html", "two.html"):
        call("report", run, "-o", tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.mark.slow
def test_double_perovskites_are_mapped_by_both_cations(page, tmp_path, both_path):
    space = ("--a", "Cs", "--b", "Ag,Na,Bi,In", "--x", "Cl,Br", "--model", both_path)
    call("double-perovskites", *space, "--workers", 1, "--out", tmp_path / "D.zarr")
    assert "The best of each pair of B and B'" in page(of=tmp_path / "D.zarr")


@pytest.mark.slow
def test_structures_have_reasons_and_no_map(page, tmp_path):
    for name, a in (("good", 4.0), ("bad", 0.3), ("worse", 0.2)):
        crystal = CUBIC_PEROVSKITE.structure([56, 22, 8, 8, 8], a)
        (tmp_path / f"{name}.cif").write_text(crystal.to(fmt="cif").replace("data_", "data_<b>"))
    model = save(untrained_for_structures(SETTINGS), tmp_path / "model")
    files = [tmp_path / f"{name}.cif" for name in ("good", "bad", "worse")]
    call("structures", *files, "--model", model, "--workers", 1, "--out", tmp_path / "S.zarr")
    text = page(of=tmp_path / "S.zarr")
    assert text.count("[figure]") == 1
    assert "overlap" in text
    assert re.search(r"<th>failed</th><td class=\"number\">2</td>", text)


@pytest.mark.slow
def test_a_model_that_was_replaced_is_not_described(page, monkeypatch):
    assert "Random weights" not in page()
    monkeypatch.setattr("screening.results.report.read_card", lambda _: (_ for _ in ()).throw(UserError("gone")))
    assert "the model that made this run was moved or replaced" in page()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "{tmp}/nowhere/r.html"), "cannot be written; it is a directory, or in none"),
        (("-o", "{tmp}/r.html", "--sort", "beauty"), "`sort` beauty: no such column"),
        (("-o", "{tmp}"), "cannot be written; it is a directory, or in none"),
        (("-o", "{tmp}/r.html", "--stable-at", "nan"), "`stable_at` nan: not an energy"),
    ],
)
def test_what_cannot_be_reported_is_said_and_leaves_nothing(run, tmp_path, options, message):
    arguments = ["report", str(run), *(option.format(tmp=tmp_path) for option in options)]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError)
    assert re.search(message, str(error))
    assert not list(tmp_path.iterdir())
