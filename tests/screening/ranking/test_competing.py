"""Hulls of the user's own: distances, decompositions, what is refused."""

import csv
import gzip
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from monty.serialization import dumpfn
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from pymatgen.entries.computed_entries import ComputedEntry, ManualEnergyAdjustment
from scipy.optimize import linprog

import screening
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from screening.chemistry.competing import Phases, count_atoms, ground_states, name_unit, read_phases
from screening.chemistry.entries import Source
from screening.cli.commands import app
from screening.store import StoredRun

pytestmark = pytest.mark.filterwarnings(  # these made-up energies are on no scale
    "ignore:formation energies of model", "ignore:of .* that both have"
)
ENERGIES = {  # eV of a formula unit
    "Ca": -2.0, "Sr": -1.7, "Ti": -7.8, "Zr": -8.5, "O2": -9.9,
    "CaO": -13.0, "SrO": -12.4, "TiO2": -27.2, "Ti2O3": -46.0, "ZrO2": -28.8, "CaTiO3": -40.9, "Sr2TiO4": -52.8,
}  # fmt: skip


def entries(without=()):
    return [ComputedEntry(name, energy) for name, energy in ENERGIES.items() if name not in without]


@pytest.fixture
def phases_path(tmp_path):
    path = tmp_path / "entries.json"
    dumpfn(entries(), path)
    return path


@pytest.fixture(scope="module")
def run_url(tmp_path_factory):
    url = tmp_path_factory.mktemp("run") / "R.zarr"
    screening.screen("perovskites", a=["Ca", "Sr"], b=["Ti", "Zr"], x=["O"], out=url, model="mp")
    return url


def _told(page, name):
    """The numbers of a column in a report."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[1]
    return json.loads(text)["rows"][name]


def counts_of(formula):
    return count_atoms(SYMBOLS.index(str(e)) for e, n in Composition(formula).items() for _ in range(int(n)))


@pytest.mark.parametrize(
    ("formula", "products"),
    [
        ("CaTiO3", {"CaTiO3": 1}),
        ("SrTiO3", {"Sr2TiO4": 0.5, "TiO2": 0.5}),
        ("CaZrO3", {"CaO": 1, "ZrO2": 1}),
    ],
)
def test_distances_are_those_of_pymatgen(phases_path, formula, products):
    phases = read_phases(phases_path)
    found = phases.distance(counts_of(formula), -3.0)
    diagram = PhaseDiagram([PDEntry(entry.composition, entry.energy) for entry in entries()])
    composition = Composition(formula)
    reference = sum(diagram.el_refs[e].energy_per_atom * n for e, n in composition.items()) / composition.num_atoms
    hull = diagram.get_hull_energy_per_atom(composition) - reference
    assert found.energy == pytest.approx(-3.0 - hull, abs=1e-9)
    assert found.products == pytest.approx(products)


def test_corrections_count(tmp_path, phases_path):
    corrected = [*entries(), ComputedEntry("SrTiO3", -40.4)]
    for entry in corrected:  # the same energies, with what is corrected told apart
        oxygen = entry.composition["O"] * (not entry.composition.is_element)
        entry.energy_adjustments = [ManualEnergyAdjustment(-0.687 * oxygen)] if oxygen else []
        entry._energy += 0.687 * oxygen
    dumpfn(corrected, tmp_path / "corrected.json.gz")
    with gzip.open(tmp_path / "corrected.json.gz") as file:
        assert len(json.load(file)) == len(corrected)
    phases = read_phases(tmp_path / "corrected.json.gz")
    assert phases.formation_energy(counts_of("SrTiO3"), -40.4 / 5) == pytest.approx((-40.4 + 1.7 + 7.8 + 14.85) / 5)
    assert phases.distance(counts_of("SrTiO3"), 0.0).decomposition == "SrTiO3"
    assert read_phases(phases_path).distance(counts_of("SrTiO3"), 0.0).decomposition == "0.5 Sr2TiO4 + 0.5 TiO2"


def test_rankings_tell_the_distance_beside_the_models_own(run_url, phases_path, tmp_path):
    out = tmp_path / "ranked.csv"
    command = ["rank", str(run_url), "--competing-phases", str(phases_path), "--sort", "e_above_user_hull"]
    done = CliRunner().invoke(app, [*command, "--csv", str(out)], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"the hull of {phases_path} of 20" in done.stderr
    assert "12 entries (functional not stated, corrections: none), sha256 " in done.stderr
    assert "warning: formation energies of model mp are those of GGA and GGA+U with the corrections" in done.stderr
    with out.open() as file:
        lines = list(csv.DictReader(file))
    above = [float(line["e_above_user_hull"]) for line in lines]
    assert above == sorted(above)
    phases = read_phases(phases_path)
    for line in lines:
        found = phases.distance(counts_of(line["formula"]), float(line["formation_energy"]))
        assert float(line["e_above_user_hull"]) == pytest.approx(found.energy, abs=2e-5)
        assert line["decomposition"] == found.decomposition
        assert line["e_above_hull"]
    page = screening.open_run(run_url).report(
        tmp_path / "r.html", competing_phases=phases_path, sort="e_above_user_hull"
    )
    assert [round(value, 3) for value in above] == pytest.approx(_told(page, "e_above_user_hull"), abs=1e-3)
    table = screening.open_run(run_url).rank(competing_phases=str(phases_path), sort="e_above_user_hull")
    np.testing.assert_allclose(table["e_above_user_hull"], above, atol=1e-5)
    assert table.attrs["units"]["e_above_user_hull"] == "eV/atom"
    assert table.attrs["user_hull"].startswith(str(phases_path))


def test_a_screen_tells_it_too_as_numbers_of_json(phases_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["perovskites", "--a", "Sr", "--b", "Ti,Zr", "--x", "O", "--competing-phases", str(phases_path)]
    done = CliRunner().invoke(app, [*command, "--format", "json", "--out", "S.zarr"], catch_exceptions=False)
    assert done.exit_code == 0
    with StoredRun.open("S.zarr") as run:
        assert run.header.remarks["competing phases"].startswith(f"{phases_path} of 20")
        assert "Materials Project" in run.header.remarks["hull"]
    assert CliRunner().invoke(app, [*command[:-2], "--out", "S.zarr", "--resume"]).exit_code == 0  # no other run
    first, second = json.loads(done.stdout)
    assert isinstance(first["e_above_user_hull"], float)
    assert {first["decomposition"], second["decomposition"]} == {"0.5 Sr2TiO4 + 0.5 TiO2", "ZrO2 + SrO"}


def test_what_the_phases_do_not_cover_is_listed_and_comes_last(run_url, tmp_path):
    path, out = tmp_path / "few.json", tmp_path / "out.csv"
    dumpfn(entries(["Zr"]), path)
    command = ["rank", str(run_url), "--competing-phases", str(path), "--sort", "e_above_user_hull", "--csv", str(out)]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "few.json: no entry of Zr alone; 2 of 4 candidates are not compared" in done.stderr
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["B"] for line in lines] == ["Ti", "Ti", "Zr", "Zr"]
    assert [bool(line["e_above_user_hull"]) for line in lines] == [True, True, False, False]
    dumpfn(entries(["SrO", "Sr2TiO4", "ZrO2"]), path)
    with pytest.warns(UserWarning, match=r"no compound of Sr in .* O-Sr-Ti; no compound of Zr in .* Ca-O-Zr"):
        table = screening.open_run(run_url).rank(competing_phases=path)
    assert table["e_above_user_hull"].notna().tolist() == ((table["A"] == "Ca") & (table["B"] == "Ti")).tolist()
    assert (table["decomposition"] != "").sum() == 1


def test_nothing_is_written_where_nothing_is_covered(run_url, tmp_path):
    path = tmp_path / "few.json"
    dumpfn(entries(["O2"]), path)
    with pytest.raises(UserError, match=r"no entry of O alone\. No candidate can be compared"):
        screening.open_run(run_url).rank(competing_phases=path)
    command = ["rank", str(run_url), "--competing-phases", str(path), "--csv", str(tmp_path / "out.csv")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0
    assert not (tmp_path / "out.csv").exists()


def test_several_files_and_the_compound_left_out_by_every_way_in(run_url, tmp_path, phases_path):
    halves = [tmp_path / "a.json", tmp_path / "b.json"]
    dumpfn(entries()[:5], halves[0])
    dumpfn(entries()[5:], halves[1])
    options = [option for half in halves for option in ("--competing-phases", str(half))]
    for extra in ([], ["--exclude-self"]):
        done, same = (
            CliRunner().invoke(app, ["rank", str(run_url), *files, *extra, "--format", "json"], catch_exceptions=False)
            for files in (options, ["--competing-phases", str(phases_path)])
        )
        assert done.stdout == same.stdout
        assert ("the hull of all others in" in done.stderr) == bool(extra)
    table = screening.open_run(run_url).rank(competing_phases=halves, exclude_self=True).set_index("formula")
    decomposition = table.loc["CaTiO3", "decomposition"]
    assert set(decomposition.split(" + ")) == {"CaO", "TiO2"}
    with pytest.raises(UserError, match="there are no `competing_phases` to leave a compound out of"):
        screening.open_run(run_url).rank(exclude_self=True)


def test_models_without_formation_energies_are_refused(phases_path, tmp_path):
    screening.screen("perovskites", a=["Sr"], b=["Ti"], x=["O"], out=tmp_path / "C.zarr", model="castelli")
    with pytest.raises(UserError, match="castelli: predicts no formation energy"):
        screening.open_run(tmp_path / "C.zarr").rank(competing_phases=phases_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[3]",
        '[{"composition": {"Ca": 1}}]',
        '[{"composition": {"Xx": 1}, "energy": -1}]',
        '[{"composition": {}, "energy": -1}]',
        '[{"composition": {"Ca": 1}, "energy": NaN}]',
        '[{"composition": {"Ca": -1, "O": 3}, "energy": 1}]',
        '[{"composition": {"Ca": Infinity}, "energy": 1}]',
        '[{"composition": {"2": 1}, "energy": 1}]',
    ],
)
def test_what_holds_no_entries_is_one_clear_line(tmp_path, content):
    path = tmp_path / "odd.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"`competing_phases` .*Give what monty.dumpfn writes"):
        read_phases(path)


def test_names_and_shares_are_those_of_pymatgen(tmp_path):
    given = [
        *({"O": 3}, {"Li": 2, "O": 2}, {"Ca": 2, "N": 4, "O": 12}, {"Na": 4, "Cl": 4}, {"Fe": 0.5, "O": 1}),
        *({"Fe2+": 1, "Fe3+": 2, "O2-": 4}, {"Xe": 1, "F": 2}, {"La": 3}),
    ]
    path = tmp_path / "entries.json"
    path.write_text(json.dumps([{"composition": composition, "energy": -1.5} for composition in given]))
    found = read_phases(path)
    for composition, unit in zip(given, found.units, strict=True):
        expected = Composition(composition).element_composition
        assert name_unit(unit) == expected.reduced_formula
        atoms = sum(amount for _, amount in unit)
        shares = {SYMBOLS[z]: amount / atoms for z, amount in unit}
        assert shares == pytest.approx({str(e): expected.get_atomic_fraction(e) for e in expected})
    assert found.references[57] == pytest.approx(-0.5)


def test_of_one_composition_the_lowest_counts(tmp_path):
    path = tmp_path / "entries.json"
    some = [{"composition": {"Ca": n}, "energy": -1.5 - n} for n in (1, 2, 4)]
    path.write_text(json.dumps([*some, {"composition": {"O": 2, "Ca": 0}, "energy": -9.9}]))
    found = read_phases(path)
    assert found.units == (((20, 1.0),), ((8, 1.0),))
    assert found.energies.tolist() == [-2.5, -4.95]


def test_no_class_of_a_file_is_imported(tmp_path):
    path = tmp_path / "evil.json"
    evil = {"@module": "antigravity", "@class": "Evil", "composition": {"Ca": 1}, "energy": -2.0}
    path.write_text(json.dumps([evil]))
    assert read_phases(path).units == (((20, 1.0),),)
    import sys

    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("exclude_self", [False, True])
def test_many_mixtures_at_once_are_those_of_linear_programming(exclude_self):
    rng = np.random.default_rng(3)
    units, numbers = {((z, 1.0),): 0.0 for z in range(1, 7)}, list(range(1, 7))
    for _ in range(400):
        chosen = sorted(rng.choice(numbers, size=int(rng.integers(2, 5)), replace=False).tolist())
        units[tuple((z, float(rng.integers(1, 4))) for z in chosen)] = -float(rng.uniform(0, 2))
    energies = np.array(list(units.values()))
    phases = Phases(tuple(units), energies, Source("made up", "", "", len(units)), exclude_self=exclude_self)
    shares = np.zeros((len(units), 101))
    for row, unit in enumerate(units):
        for z, amount in unit:
            shares[row, z] = amount
    counts = shares[6:].astype(int)  # all compounds: many lie on lines between others
    shares /= shares.sum(axis=1, keepdims=True)
    found, products, amounts = phases.lowest(counts)
    for row, count in enumerate(counts):
        others = (shares[:, count == 0].sum(axis=1) == 0) & (
            (not exclude_self) | (np.abs(shares - count / count.sum()).max(axis=1) > 1e-9)
        )
        there = count > 0
        best = linprog(energies[others], A_eq=shares[others][:, there].T, b_eq=count[there] / count.sum())
        assert found[row] == pytest.approx(best.fun, abs=1e-9)
        there = products[row] >= 0
        assert (amounts[row, there] > -1e-7).all()
        np.testing.assert_allclose(amounts[row, there] @ shares[products[row, there]], count / count.sum(), atol=1e-9)


def test_the_shipped_ground_states_leave_the_compound_itself_out():
    phases = ground_states()
    assert len(phases.units) > 50_000
    known = dict(zip(phases.units, phases.energies.tolist(), strict=True))
    titanate = known[(8, 3.0), (20, 1.0), (22, 1.0)]
    found = phases.distance(counts_of("CaTiO3"), titanate)
    assert -0.3 < found.energy < 0  # it is stable, and lies below all others
    assert "CaTiO3" not in found.products
    sulphide = phases.distance(counts_of("SmMoS3"), 0.0)  # MoS2 and Sm2S3 leave it no chance
    assert {"MoS2", "Sm2S3"} <= sulphide.products.keys()


@pytest.mark.parametrize(("formula", "energy"), [("Rb2LiYBr6", 0.05), ("Cs2AgInCl6", 0.05), ("Cs2NaYI6", 0.05)])
def test_bromides_and_iodides_compare_as_chlorides_do(formula, energy):
    sites = [str(e) for e in Composition(formula)]
    table = screening.score("double-perovskites", a=sites[:1], b=sites[1:3], x=sites[3:], model="mp", no_filter=True)
    assert table["hull_bound"][1] < energy  # 0.3 lower or higher if corrections were of two kinds
    assert table["hull_bound"][1] > -0.15


def test_the_first_rows_say_how_far_above_the_hull_they_are_at_least(tmp_path):
    url, out = tmp_path / "R.zarr", tmp_path / "out.csv"
    settings = {"a": ["Ba", "La", "Sm", "Sr"], "b": ["Hf", "Mo", "Zr"], "x": ["S"], "no_filter": True}
    screening.screen("perovskites", **settings, out=url, model="mp")
    whole = screening.open_run(url).rank()
    assert whole["hull_bound"].notna().all()
    assert whole.attrs["units"]["hull_bound"] == "eV/atom"
    bound = whole.set_index("formula")["hull_bound"]
    assert bound["SmMoS3"] > 0.2
    assert bound["BaZrS3"] < 0.1
    assert "MoS2" in whole.set_index("formula")["competing"]["SmMoS3"]

    first = screening.open_run(url).rank(hull_check=3)
    assert first["index"].tolist() == whole["index"].tolist()
    assert first["hull_bound"].notna().tolist() == [True] * 3 + [False] * (len(whole) - 3)
    assert first["competing"].tolist()[3:] == [""] * (len(whole) - 3)
    np.testing.assert_array_equal(first["hull_bound"][:3], whole["hull_bound"][:3])
    assert "hull_bound" not in screening.open_run(url).rank(hull_check=0)

    by_bound = screening.open_run(url).rank(sort="hull_bound")
    assert by_bound["hull_bound"].is_monotonic_increasing
    np.testing.assert_allclose(by_bound.set_index("index")["hull_bound"].sort_index(),
                               whole.set_index("index")["hull_bound"].sort_index(), atol=1e-6)  # fmt: skip
    assert screening.score("perovskites", **settings, model="mp")["hull_bound"].tolist() == pytest.approx(
        whole["hull_bound"].tolist()
    )

    done = CliRunner().invoke(app, ["rank", str(url), "--csv", str(out)], catch_exceptions=False)
    assert "known competing phases put" in done.stderr
    assert "0.2 eV/atom above the hull" in done.stderr
    assert "E ≥" in done.stdout
    assert out.read_text().splitlines()[0].endswith("hull_bound,competing")


def test_models_of_other_energies_have_no_hull_check(model_path):
    settings = {"a": ["Ca", "Sr"], "b": ["Ti", "Zr"], "x": ["O"], "model": str(model_path)}
    assert "hull_bound" not in screening.score("perovskites", **settings)
    with pytest.raises(UserError, match="`sort` hull_bound: no such column"):
        screening.score("perovskites", **settings, sort="hull_bound")


def test_promise_weighs_the_odds_of_a_perovskite_against_energy(tmp_path):
    settings = {"a": ["Ba", "La", "Sm", "Sr"], "b": ["Hf", "Mo", "Zr"], "x": ["S", "O"], "no_filter": True}
    url = tmp_path / "P.zarr"
    screening.screen("perovskites", **settings, out=url, model="mp", sort="promise")
    table = screening.open_run(url).rank()
    p = table["p_perovskite"].to_numpy(dtype=float).clip(1e-4, 1 - 1e-4)
    expected = np.log(p / (1 - p)) - table["e_above_hull"] / 0.05
    assert (np.diff(expected) < 1e-3).all()  # the best first
    known = screening.open_run(url).rank(prefer_known=True)
    energy = known["known_e_above_hull"].where(~known["known_is_bound"], known["e_above_hull"])  # of the training
    p = known["p_perovskite"].to_numpy(dtype=float).clip(1e-4, 1 - 1e-4)
    assert (np.diff(np.log(p / (1 - p)) - energy.fillna(known["e_above_hull"]) / 0.05) < 1e-3).all()
    again = screening.score("perovskites", **settings, model="mp", sort="promise")
    assert again["index"].tolist() == table["index"].tolist()
