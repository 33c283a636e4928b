"""The report in a browser: it shows, sorts, filters, hovers, and gives CIF files; names do no harm."""

import base64
import csv

import pytest
from click.testing import CliRunner
from pymatgen.core import Structure

from cgcnn.files import csv_line
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.cli.commands import app

pytestmark = pytest.mark.slow
WIDTHS = pytest.mark.parametrize("width", [1400, 390])
HOSTILE = (
    "<img src=x onerror=hacked=1>",
    "</script><script>hacked=1</script>",
    "\"'&<!--",
    "=cmd|' /C x'!A0",
    "x" * 900,
)
GRID = ("perovskites", "--a", "Ca,Sr,Ba", "--b", "Ti,Zr,Hf,Ta", "--x", "O,N,F", "--anions", 2, "--no-filter")


def call(*arguments):
    result = CliRunner(catch_exceptions=False).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


def made(folder, *kind):
    """The report of a run, and the rows of its ranked CSV."""
    call(*kind, "--out", folder / "R.zarr", "--csv", folder / "R.csv")
    call("report", folder / "R.zarr", "-o", folder / "R.html")
    with (folder / "R.csv").open(encoding="utf-8") as file:
        return folder / "R.html", list(csv.DictReader(file))


@pytest.fixture(scope="module")
def grid(tmp_path_factory, model_path):
    return made(tmp_path_factory.mktemp("grid"), *GRID, "--model", model_path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, model_path):
    folder = tmp_path_factory.mktemp("hostile")
    rows = [(f"{name} {i}", HOSTILE[0], "Ba", "Ti", "O") for i, name in enumerate(HOSTILE)]
    lines = map(csv_line, [("id", HOSTILE[1], "A", "B", "X"), *rows])
    (folder / "list.csv").write_text("".join(lines))
    return made(folder, "list", folder / "list.csv", "--prototype", "cubic-perovskite", "--model", model_path)


def minus(text):
    return float(text.replace("\u2212", "-"))


@WIDTHS
def test_it_shows_the_ranking_and_maps_and_asks_for_nothing(grid, browse, width):
    path, rows = grid
    page = browse(path, width)
    assert page.text("#count") == f"{len(rows)} candidates" == "108 candidates"
    shown = page.cells("formula")
    assert shown == [row["formula"] for row in rows[: len(shown)]]
    assert len(shown) > 10
    assert [minus(cell) for cell in page.cells("e_above_hull")] == [
        round(float(row["e_above_hull"]), 3) for row in rows[: len(shown)]
    ]
    drawn = page.run("return [...document.querySelectorAll('.chart canvas')].map((c) => c.closest('.chart').id)")
    assert set(drawn) == {"histogram", "tmu", "pairs", "elements"}
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints() == []
    assert page.requests() == []


@WIDTHS
def test_it_sorts_by_a_heading_and_back(grid, browse, width):
    path, rows = grid
    page = browse(path, width)
    energies = sorted(float(row["e_above_hull"]) for row in rows)
    head = "#table th[data-name=e_above_hull]"
    page.click(f"{head} button")
    assert minus(page.cells("e_above_hull")[0]) == round(energies[0], 3)
    page.click(f"{head} button")
    assert page.one(head).get_attribute("aria-sort") == "descending"
    assert minus(page.cells("e_above_hull")[0]) == round(energies[-1], 3)
    page.click("#table th[data-name=formula] button")
    assert page.cells("formula") == sorted(page.cells("formula"))


@WIDTHS
def test_it_searches_and_filters(grid, browse, width):
    path, rows = grid
    page = browse(path, width)
    with_ba = [row for row in rows if row["A"] == "Ba" and "N" not in {row["X1"], row["X2"], row["X3"]}]
    page.search("Ba -N", f"{len(with_ba)} of 108")
    assert page.cells("formula") == [row["formula"] for row in with_ba]
    page.search("basrti", "0 of 108")
    page.search("", "108")
    limit = round(float(rows[40]["e_above_hull"]), 3)
    page.click("#add-filter summary")
    page.one("#filter-form input[name=high]").send_keys(str(limit))
    page.click("#filter-form button")
    below = [row for row in rows if float(row["e_above_hull"]) <= limit]
    assert page.text("#count") == f"{len(below)} of 108 candidates"
    page.click("#chips button")
    assert page.text("#count") == "108 candidates"


@WIDTHS
def test_charts_say_what_the_pointer_is_at_and_lead_to_the_table(grid, browse, width):
    path, rows = grid
    page = browse(path, width)
    t, mu = (float(rows[0][name]) for name in ("tolerance_factor", "octahedral_factor"))
    page.point_at("tmu", [t, mu])
    assert "eV/atom" in page.tip("tmu")
    low, step, counts = page.run("const h = DATA.histogram; return [h.low, h.step, h.counts]")
    page.point_at("histogram", [low + step * (counts.index(max(counts)) + 0.5), max(counts) / 2])
    assert page.tip("histogram").startswith(f"{max(counts)} candidates")
    page.point_at("elements", [1, 5])
    assert page.tip("elements").startswith("Ba on A")
    page.point_at("pairs", ["Ta", "Sr"], click=True)
    pair = [row for row in rows if (row["A"], row["B"]) == ("Sr", "Ta")]  # in order of their energies
    near = next(row["formula"] for row in pair if float(row["domain_distance"]) == 0)
    assert page.tip("pairs").startswith(near)
    assert page.text("#count") == "9 of 108 candidates"
    assert page.cells("formula") == [row["formula"] for row in pair]
    assert page.complaints() == []


@WIDTHS
def test_a_card_tells_of_a_candidate_and_gives_its_cif(grid, browse, width, tmp_path):
    path, rows = grid
    page = browse(path, width)
    page.click("#table tr[data-row='2']")
    assert page.text("#card-title") == rows[2]["formula"]
    said = page.text("#card")
    assert rows[2]["states"].replace("-", "\u2212").split()[0] in said
    assert "Most similar in the training" in said
    assert page.all("#viewer canvas")
    page.click("#save-cif")
    structure = Structure.from_file(page.saved("*.cif"))
    call("rank", path.with_name("R.zarr"), "--top", 3, "--cif", tmp_path / "cifs")
    (written,) = (tmp_path / "cifs").glob("0003-*.cif")
    expected = Structure.from_file(written)
    assert structure.lattice.abc == pytest.approx(expected.lattice.abc, abs=1e-4)
    assert sorted((site.specie.symbol, *site.frac_coords.round(4)) for site in structure) == sorted(
        (site.specie.symbol, *site.frac_coords.round(4)) for site in expected
    )
    page.click("#card button[aria-label='Next']")
    assert page.text("#card-title") == rows[3]["formula"]
    assert page.run("return location.hash") == f"#candidate={rows[3]['index']}"
    page.click("#close-card")
    assert not page.run("return document.getElementById('card').open")
    assert page.complaints() == []
    assert page.requests() == []


@WIDTHS
def test_hostile_names_are_only_names(hostile, browse, width):
    path, rows = hostile
    page = browse(path, width)
    assert sorted(page.cells("id")) == sorted(
        row["id"] if len(row["id"]) < 400 else row["id"][:400] + "…" for row in rows
    )
    for place in range(len(rows)):
        page.click(f"#table tr[data-row='{place}']")
        assert page.cells("id")[place] in page.text("#card")
        page.click("#close-card")
    assert page.run("return typeof hacked") == "undefined"
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.complaints() == []
    page.click("#save-csv")
    with page.saved("*.csv").open(encoding="utf-8") as file:
        saved = list(csv.DictReader(file))
    assert all(not row["id"].startswith("=") for row in saved)


def test_it_can_be_printed(grid, browse):
    page = browse(grid[0])
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    assert page.text("#print-note") == "The first 50 of 108 candidates."
    assert len(page.cells("formula")) == 50
    vectors = (
        "return [...document.querySelectorAll('.chart')].map((c) => [c.id, c.querySelectorAll('svg path').length > 4])"
    )
    assert dict(page.run(vectors)) == dict.fromkeys(("histogram", "tmu", "pairs", "elements"), True)
    printed = base64.b64decode(page.driver.print_page())
    assert printed.startswith(b"%PDF")
    page.run("window.dispatchEvent(new Event('afterprint'))")
    assert page.text("#count") == "108 candidates"
    assert len(page.all(".chart canvas")) >= 4
    assert page.complaints() == []


def test_structures_have_cards_too(browse, tmp_path):
    settings = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
    model = save(untrained_for_structures(settings), tmp_path / "model")
    given = CUBIC_PEROVSKITE.structure([56, 22, 8, 8, 8], 4.0)
    given.perturb(0.1)
    given.to(filename=str(tmp_path / "given.cif"))
    path, _ = made(tmp_path, "structures", tmp_path / "given.cif", "--model", model)
    (tmp_path / "given.cif").rename(tmp_path / "given")
    page = browse(path)
    page.click("#table tr[data-row='0']")
    page.click("#save-cif")
    assert page.saved("*BaTiO3-0.cif")
    found = Structure.from_file(page.saved("*BaTiO3-0.cif"))
    assert sorted(found.distance_matrix.ravel()) == pytest.approx(sorted(given.distance_matrix.ravel()), abs=1e-3)
    assert page.complaints() == []


def test_ten_thousand_rows_are_less_than_five_megabytes_and_few_are_in_the_page(browse, tmp_path, model_path):
    space = ("--a", "alkali,Mg,Ca,Sr,Ba,La,Y", "--b", "3d,4d", "--x", "O,N,F,S,Cl", "--anions", 3, "--no-filter")
    path, rows = made(tmp_path, "perovskites", *space, "--model", model_path)
    assert path.stat().st_size < 5_000_000
    page = browse(path)
    assert page.text("#count") == "7,315 candidates"
    assert len(page.cells("formula")) < 100
    page.run("const frame = document.getElementById('table'); frame.scrollTop = frame.scrollHeight")
    page.wait(lambda: page.cells("rank")[-1] == str(len(rows)))
    assert len(page.cells("formula")) < 100
