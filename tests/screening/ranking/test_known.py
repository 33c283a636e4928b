import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from pymatgen.core import Lattice, Structure

import screening
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from screening.cli.commands import app
from screening.ranking.known import read_known
from screening.ranking.outputs import Outputs
from screening.ranking.results import present
from screening.store import StoredRun

TITANATE, MIXED, ZIRCONATE = [56, 22, 8, 8, 8], [57, 22, 8, 8, 7], [56, 40, 8, 8, 8]


def rows(*species):
    return np.array(species, dtype=np.uint8)


def test_formulas_of_a_table_are_found_whatever_their_order(tmp_path):
    (tmp_path / "mine.csv").write_text("material_id,formula_pretty\nmp-1,TiBaO3\nmp-2,La2Ti2N2O4\nmp-3,Ba2MgWO6\n")
    known = read_known(tmp_path / "mine.csv")
    assert known.names_of(rows(TITANATE, MIXED, ZIRCONATE), CUBIC_PEROVSKITE) == ["mp-1", "mp-2", ""]
    assert known.are_known(rows(TITANATE, MIXED, ZIRCONATE), CUBIC_PEROVSKITE).tolist() == [True, True, False]
    double = rows([56, 12, 74, 8], [12, 56, 74, 8], [56, 22, 74, 8])
    assert known.names_of(double, DOUBLE_PEROVSKITE) == ["mp-3", "", ""]


def test_ids_of_the_materials_project_are_told_all_of_one_composition(tmp_path):
    records = [
        {"material_id": "mp-2998", "formula_pretty": "BaTiO3"},
        {"material_id": "mp-5020", "formula_pretty": "BaTiO3"},
        {"material_id": "mp-3834", "formula_pretty": "BaZrO3"},
    ]
    (tmp_path / "mine.json").write_text(json.dumps(records))
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name in ("mine.json", "mine.jsonl"):
        known = read_known(tmp_path / name)
        assert known.names_of(rows(TITANATE, ZIRCONATE), CUBIC_PEROVSKITE) == ["mp-2998 mp-5020", "mp-3834"]


def test_cif_files_of_a_folder_are_called_by_their_names(tmp_path):
    crystal = CUBIC_PEROVSKITE.structure(rows(TITANATE)[0], 4.0)
    crystal.to(filename=str(tmp_path / "made-2024.cif"))
    assert read_known(tmp_path).names_of(rows(TITANATE, ZIRCONATE), CUBIC_PEROVSKITE) == ["made-2024", ""]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "line 2 has no formula; its columns are a,b"),
        ("id,formula\nmp-7,XyO3\nmp-8,\n", r"mp-7: 'XyO3' is not a formula.*2 such rows"),
        ("formula\n", "no records"),
        (None, "no such file"),
    ],
)
def test_what_says_no_composition_is_refused(tmp_path, content, message):
    file = tmp_path / "mine.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_known(file)


STRONTIUM, MANGANITE = [38, 22, 8, 8, 8], [57, 25, 8, 8, 8]


@pytest.mark.parametrize(
    "formula", ["SrTiO2.6", "Sr0.8La0.2TiO3", "Sr(Ti0.95Zr0.05)O3", "SrTiO2.99", "Sr0.999TiO3", "La0.8Sr0.2MnO3"]
)
def test_what_is_not_stoichiometric_is_nothing_else(tmp_path, formula):
    (tmp_path / "mine.csv").write_text(f"formula\n{formula}\n")
    known = read_known(tmp_path / "mine.csv")
    assert known.names_of(rows(STRONTIUM, MANGANITE), CUBIC_PEROVSKITE) == ["", ""]
    assert not known.are_known(rows(STRONTIUM, MANGANITE), CUBIC_PEROVSKITE).any()
    assert "1 of 1 not stoichiometric, which match only exactly that composition" in known.notes[0]
    assert formula in known.notes[0]


@pytest.mark.parametrize(
    "formula", ["Sr2Ti2O6", "Sr0.5Ti0.5O1.5", '{"Sr": 1.0, "Ti": 1.0, "O": 3.0}', "Sr1.0Ti1.0O3.0"]
)
def test_whole_multiples_and_fractions_of_a_formula_are_that_formula(tmp_path, formula):
    value = json.loads(formula) if formula.startswith("{") else formula
    (tmp_path / "mine.json").write_text(json.dumps([{"id": "mine", "composition": value}]))
    known = read_known(tmp_path / "mine.json")
    assert known.names_of(rows(STRONTIUM), CUBIC_PEROVSKITE) == ["mine"]


def test_crystals_with_partial_occupancy_are_nothing_else_and_broken_ones_are_told(tmp_path):
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    mixed = Structure(Lattice.cubic(3.9), [{"La": 0.8, "Sr": 0.2}, "Mn", "O", "O", "O"], places)
    mixed.to(filename=str(tmp_path / "lsmo.cif"))
    CUBIC_PEROVSKITE.structure(rows(STRONTIUM)[0], 3.9).to(filename=str(tmp_path / "sto.cif"))
    (tmp_path / "broken.cif").write_text("nothing")
    known = read_known(tmp_path)
    assert known.names_of(rows(STRONTIUM, MANGANITE), CUBIC_PEROVSKITE) == ["sto", ""]
    odd, uneven = known.notes
    assert "1 of 3 cannot be read; the first is broken" in odd
    assert "1 of 3 not stoichiometric" in uneven


def test_odd_rows_are_counted_and_the_others_count(tmp_path):
    (tmp_path / "mine.csv").write_text("id,formula\na,SrTiO3\nb,Xy2\nc,\nd,LaMnO3\n")
    known = read_known(tmp_path / "mine.csv")
    assert known.names_of(rows(STRONTIUM, MANGANITE), CUBIC_PEROVSKITE) == ["a", "d"]
    assert "2 of 4 cannot be read; the first is b: 'Xy2' is not a formula" in known.notes[0]


@pytest.mark.parametrize(
    ("header", "value"),
    [("e_above_hull", 0.5), ("energy_above_hull", 0.5), ("E above hull (eV/atom)", 0.5), ("e_hull (meV/atom)", 500)],
)
def test_energies_above_hull_are_read_the_lowest_of_several(tmp_path, header, value):
    lines = [f"formula,{header}", f"SrTiO3,{value}", f"TiSrO3,{2 * value}", "LaMnO3,", "BaTiO3,unknown"]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    known = read_known(tmp_path / "mine.csv")
    found = known.energies_of(rows(STRONTIUM, MANGANITE, TITANATE), CUBIC_PEROVSKITE)
    assert found.tolist() == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    given = known.columns_of({"species": rows(STRONTIUM, MANGANITE)}, CUBIC_PEROVSKITE)["user_e_above_hull"]
    assert given.to_pylist() == [0.5, None]
    assert "1 of 4 with an energy that is not a number; the first is BaTiO3" in known.notes[0]


@pytest.mark.parametrize(
    "content",
    [
        "Material ID;Formula;E above hull (eV/atom)\nmine;SrTiO3;0,25\n",
        "Material ID\tFormula\tE above hull\nmine\tSrTiO3\t0.25\n\t\t\n",
        "# from my notes\nformula,id,e_hull\nSrTiO3,mine,0.25\nSrZrO3,theirs,0.1,7\n",
    ],
)
def test_tables_are_those_of_the_strict_reader(tmp_path, content):
    (tmp_path / "mine.csv").write_bytes(content.encode("utf-16" if ";" in content else "utf-8"))
    known = read_known(tmp_path / "mine.csv")
    assert known.names_of(rows(STRONTIUM), CUBIC_PEROVSKITE) == ["mine"]
    assert known.energies_of(rows(STRONTIUM), CUBIC_PEROVSKITE).tolist() == [0.25]
    assert ("1 of 2 cannot be read; the first is line 4: " in "".join(known.notes)) == ("theirs" in content)


@pytest.mark.slow
def test_energies_of_the_user_rank_before_those_of_training_and_model_or_are_refused(tmp_path, model_path):
    mine, sites = tmp_path / "mine.csv", {"a": "Ca,Sr,Ba", "b": "Ti", "x": "O", "model": str(model_path)}
    run = screening.screen("perovskites", out=tmp_path / "R.zarr", **sites)
    first, second, third = run.rank()["A"]
    mine.write_text(f"formula,e_above_hull\n{first}TiO3,9.5\n{third}TiO3,-9.5\n")
    ranked = run.rank(known=mine, prefer_known=True)
    assert ranked["A"].tolist() == [third, second, first]
    assert ranked["user_e_above_hull"].tolist() == pytest.approx([-9.5, np.nan, 9.5], nan_ok=True)
    assert ranked.attrs["units"]["user_e_above_hull"] == "eV/atom"
    assert run.rank(known=mine)["A"].tolist() == [first, second, third]
    command = ["rank", run.url, "--known", str(mine)]
    told = CliRunner().invoke(app, [*command, "--prefer-known"], catch_exceptions=False).stderr
    assert "energies above hull of 2 compounds are ranked by in place of the model's" in told
    assert "--prefer-known does that" in CliRunner().invoke(app, command, catch_exceptions=False).stderr
    mine.write_text("formula,formation_energy_per_atom\nSrTiO3,-3.5\n")
    with pytest.raises(UserError, match="formation_energy_per_atom is not an energy above a hull"):
        run.rank(known=mine, prefer_known=True)
    assert "formation_energy_per_atom is not used" in CliRunner().invoke(app, command, catch_exceptions=False).stderr


@pytest.mark.slow
def test_a_ranking_marks_or_drops_what_a_user_has(tmp_path, model_path):
    (tmp_path / "mine.csv").write_text("formula\nBaTiO3\n")
    sites = {"a": "Ca,Sr,Ba", "b": "Ti", "x": "O", "model": str(model_path)}
    run = screening.screen("perovskites", out=tmp_path / "R.zarr", **sites)
    marked = run.rank(known=tmp_path / "mine.csv").set_index("A")["known_as"]
    assert marked.to_dict() == {"Ba": "BaTiO3", "Sr": "", "Ca": ""}
    assert set(run.rank(known=tmp_path / "mine.csv", drop_known=True)["A"]) == {"Ca", "Sr"}
    assert "known_as" not in run.rank()
    with pytest.raises(UserError, match="there is nothing `known` to drop"):
        run.rank(drop_known=True)
    for top in (None, 2):
        asked = Outputs(known=tmp_path / "mine.csv", csv=tmp_path / "R.csv", top=top)
        with StoredRun.open(run.url) as opened:
            present(opened, asked)
        with (tmp_path / "R.csv").open(encoding="utf-8") as lines:
            written = {row["A"]: row["known_as"] for row in csv.DictReader(lines)}
        assert written.items() <= marked.to_dict().items()
        assert len(written) == (top or 3)
