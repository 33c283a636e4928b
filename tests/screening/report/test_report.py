"""`screen report`: one page that says what a run says."""

import csv
import html
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from cgcnn.errors import UserError
from cgcnn.files import csv_line
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.cli.commands import app

SETTINGS = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
GRID = ("perovskites", "--a", "Ca,Sr,Ba,U", "--b", "Ti,Zr,Hf", "--x", "O,N", "--anions", 2, "--block-size", 16)
HOSTILE = "</script><script>alert(1)</script>"


def call(*arguments):
    result = CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path):
    place = tmp_path_factory.mktemp("report") / "R.zarr"
    call(*GRID, "--model", model_path, "--out", place)
    return place


@pytest.fixture
def page(run, tmp_path):
    """Write the report with some options; what its text says, and the data of its scripts."""

    def write(*options, of=run):
        call("report", of, "-o", tmp_path / "report.html", *options)
        text = (tmp_path / "report.html").read_text(encoding="utf-8")
        data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1])
        return html.unescape(re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)), data

    return write


@pytest.fixture
def ranked(run, tmp_path):
    """The rows of the ranked CSV, with some options."""

    def read(*options, of=run):
        call("rank", of, "--csv", tmp_path / "all.csv", *options)
        with (tmp_path / "all.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return read


def test_the_page_says_what_the_ranking_says(page, ranked):
    threshold = np.median([float(row["e_above_hull"]) for row in ranked()]).round(3)
    rows = ranked("--stable-at", threshold)
    text, data = page("--top", 7, "--stable-at", threshold)
    below = sum(float(row["e_above_hull"]) <= threshold for row in rows)
    expected = sum(float(row["p_stable"]) for row in rows)
    assert 0 < below < len(rows) == 48
    tiles = dict(reversed(pair) for pair in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert set(tiles) == {"48", str(below), f"{expected:.1f}"}
    assert "12 contain an element that the model never saw" in text
    assert "The best 7 of 48 candidates, by E above hull" in text
    assert data["stable_at"] == threshold
    for name, cells in data["rows"].items():
        if name != "index" and data["rows"]["formula"]:
            values = [row[name] for row in rows[:7]]
            kind = next(column["kind"] for column in data["columns"] if column["name"] == name)
            told = {"number": lambda v: None if v == "" else float(v), "flag": lambda v: int(v == "true")}.get(
                kind, str
            )
            assert cells == pytest.approx([told(value) for value in values]), name
    assert set(rows[0]) - {"rank", *data["rows"]} == {name for name in rows[0] if not any(row[name] for row in rows)}


def test_further_choices_narrow_the_report_and_are_told(page, ranked, tmp_path):
    (tmp_path / "mine.csv").write_text("formula,id\nBaTiO3,mine\n")
    choices = ("--filter", "exclude=Zr", "--group-by", "A", "--per-group", "2", "--known", tmp_path / "mine.csv")
    text, data = page(*choices)
    rows = ranked(*choices)
    assert data["rows"]["index"] == [int(row["index"]) for row in rows]
    assert len(rows) == 8
    assert "Zr" not in data["rows"]["B"]
    assert "--sort e_above_hull --filter exclude=Zr --group-by A --per-group 2 --known mine.csv" in text
    assert "after the filters of this report" in text


def test_maps_are_of_all_candidates_and_not_of_those_listed(page, ranked):
    rows = [row for row in ranked() if row["in_domain"] == "true" and not float(row["domain_distance"]) > 0]
    _, data = page("--top", 3)
    assert sum(data["histogram"]["counts"]) == 48
    best = {}
    for row in reversed(rows):  # from the worst to the best
        best[row["A"], row["B"]] = row
    assert {(a, b) for a, b, *_ in data["pairs"]["cells"]} == set(best)
    for a, b, energy, deviation, formula, index in data["pairs"]["cells"]:
        told = best[a, b]
        assert (formula, index) == (told["formula"], int(told["index"]))
        assert (energy, deviation) == pytest.approx(
            (float(told["e_above_hull"]), float(told["e_above_hull_std"])), abs=1e-4
        )
    for symbol, count, expected, *_ in data["elements"]["X"]:
        held = [row for row in rows if symbol in {row["X1"], row["X2"], row["X3"]}]
        assert count == len(held) > 0
        assert expected == pytest.approx(sum(float(row["p_stable"]) for row in held), abs=1e-2)


def test_the_same_run_gives_the_same_page_and_it_asks_for_nothing_from_elsewhere(run, tmp_path):
    for name in ("one.html", "two.html"):
        call("report", run, "-o", tmp_path / name)
    page = (tmp_path / "one.html").read_text()
    assert page == (tmp_path / "two.html").read_text()
    shown = html.unescape(re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))
    assert re.findall(r"(?:src|href)=\"(?!#|data:)([^\"]*)", shown) == [
        "https://doi.org/10.1103/PhysRevLett.120.145301"
    ]
    assert "default-src 'none'" in shown
    assert "@import" not in shown
    assert "url(" not in shown


def test_the_ledger_of_the_page_adds_up(page):
    text, _ = page()
    (ledger,) = re.findall(r"<h3>Ledger</h3>(.*?)</table>", text, flags=re.DOTALL)
    counts = [int(count.replace(",", "")) for count in re.findall(r'class="number">([\d,]+)<', ledger)]
    assert counts[-1] == sum(counts[:-1]) == 48


def test_double_perovskites_are_mapped_by_both_cations(page, tmp_path, both_path):
    space = ("--a", "Cs", "--b", "Ag,Na,Bi,In", "--x", "Cl,Br", "--model", both_path)
    call("double-perovskites", *space, "--out", tmp_path / "D.zarr")
    text, data = page(of=tmp_path / "D.zarr")
    assert "The best of each pair of B and B'" in text
    assert data["pairs"]["sites"] == ["B", "B'"]
    assert {symbol: count for symbol, count, *_ in data["elements"]["B"]} == dict.fromkeys(("Ag", "Na", "Bi", "In"), 6)


def test_structures_come_with_the_page_and_have_reasons_and_no_map(page, tmp_path):
    for name, a in (("good", 4.0), ("bad", 0.3), ("worse", 0.2)):
        crystal = CUBIC_PEROVSKITE.structure([56, 22, 8, 8, 8], a)
        (tmp_path / f"{name}.cif").write_text(crystal.to(fmt="cif").replace("data_", "data_<b>"))
    model = save(untrained_for_structures(SETTINGS), tmp_path / "model")
    files = [tmp_path / f"{name}.cif" for name in ("good", "bad", "worse")]
    call("structures", *files, "--model", model, "--out", tmp_path / "S.zarr")
    text, data = page(of=tmp_path / "S.zarr")
    assert "The best of each pair" not in text
    assert "nearer than any bond" in text
    assert re.search(r"<th>failed</th><td class=\"number\">2</td>", text)
    assert data["rows"]["id"] == ["good"]
    (crystal,) = data["structures"]
    assert crystal["cell"] == pytest.approx([4, 4, 4, 90, 90, 90])
    assert sorted(crystal["symbols"]) == ["Ba", "O", "O", "O", "Ti"]
    assert {symbol for symbol, *_ in data["elements"][""]} == {"Ba", "Ti", "O"}


def test_hostile_texts_are_texts(tmp_path, page, model_path):
    names = [HOSTILE, "<img src=x onerror=alert(1)>", "\"'&<!--", "x" * 5000]
    lines = [
        ["id", HOSTILE, "A", "B", "X"],
        *([name, name, "Ba", b, "O"] for name, b in zip(names, ("Ti", "Zr", "Hf", "Ta"), strict=True)),
    ]
    (tmp_path / "list.csv").write_text("".join(map(csv_line, lines)))
    listed = ("list", tmp_path / "list.csv", "--prototype", "cubic-perovskite", "--model", model_path)
    call(*listed, "--out", tmp_path / "<b>.zarr")
    text, data = page(of=tmp_path / "<b>.zarr")
    raw = (tmp_path / "report.html").read_text()
    assert raw.count("<script") == raw.count("</script>") == 4
    assert "<b>.zarr" not in raw
    assert "<b>.zarr" in text
    assert sorted(map(len, data["rows"]["id"])) == sorted([len(name) for name in names[:3]] + [401])
    assert set(data["rows"][HOSTILE]) == set(data["rows"]["id"])
    assert "<img" not in re.sub(r"<script>.*?</script>", "", raw, flags=re.DOTALL)


def test_a_model_that_was_replaced_is_not_described(page, monkeypatch):
    text, data = page()
    assert "Random weights" in text
    assert data["neighbours"] is not None
    monkeypatch.setattr("screening.report.report.read_card", lambda _: (_ for _ in ()).throw(UserError("gone")))
    text, data = page()
    assert "was moved or replaced" in text
    assert "Random weights" not in text
    assert data["neighbours"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "{tmp}/nowhere/r.html"), "a directory, or in a directory that does not exist"),
        (("-o", "{tmp}/r.html", "--sort", "beauty"), "`sort` beauty: no such column"),
        (("-o", "{tmp}"), "a directory, or in a directory that does not exist"),
        (("-o", "{tmp}/r.html", "--stable-at", "nan"), "`stable_at` nan: not an energy"),
    ],
)
def test_what_cannot_be_reported_is_said_and_leaves_nothing(run, tmp_path, options, message):
    arguments = ["report", str(run), *(option.format(tmp=tmp_path) for option in options)]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError)
    assert re.search(message, str(error))
    assert not list(tmp_path.iterdir())
