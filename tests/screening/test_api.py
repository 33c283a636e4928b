"""Screening from Python: what it gives, that it says nothing, and what its errors name."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure

import screening
from cgcnn.data.composition import composition_keys
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from screening.campaign import Advanced, Begun, Opened
from screening.ranking.outputs import Outputs
from screening.ranking.results import present
from screening.store import StoredRun, write_block

GRID = {"a": ["Ca", "Sr", "Ba", "U"], "b": ["Ti", "Zr"], "x": ["O", "N"], "anions": 2}


@pytest.fixture(scope="module")
def heard():
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, model_path, heard):
    out = tmp_path_factory.mktemp("api") / "R.zarr"
    told = {"model": str(model_path), "filters": ["tolerance=0.9:1.0"], "workers": 1, "progress": heard.append}
    return screening.screen("perovskites", out=out, **GRID, **told)


@pytest.mark.slow
def test_a_screen_is_silent_and_tells_events_to_who_listens(run, heard, capfd):
    assert [type(event) for event in heard] == [Opened, Begun, Advanced]
    assert heard[-1] == Advanced(1, 1, run.ledger.size, 0, 1, heard[-1].seconds)
    assert heard[-1].seconds > 0
    run.rank(top=3)
    assert capfd.readouterr() == ("", "")
    assert run.complete
    assert run.verify().ok
    assert sum(run.ledger.counts.values()) == run.ledger.size == 4 * 2 * 4


@pytest.mark.slow
def test_a_ranking_is_a_table_of_pandas_with_units_and_structures(run):
    top = run.rank(sort="p_stable", top=5)
    assert isinstance(top, pd.DataFrame)
    assert list(top.columns)[:7] == ["index", "formula", "A", "B", "X1", "X2", "X3"]
    assert top.index.tolist() == [1, 2, 3, 4, 5]
    assert (top.attrs["units"]["e_above_hull"], top.attrs["units"]["a_angstrom"]) == ("eV/atom", "Å")
    assert (top.attrs["committed"], top.attrs["blocks"]) == (1, 1)
    assert top["p_stable"].is_monotonic_decreasing
    crystals = top.structures()
    assert all(isinstance(crystal, Structure) for crystal in crystals)
    assert [len(crystal) for crystal in crystals] == [5] * 5
    for (_, row), crystal in zip(top.iterrows(), crystals, strict=True):
        assert crystal[0].specie.symbol == row["A"]
        assert crystal.lattice.a == pytest.approx(row["a_angstrom"])
    chosen = top[top["B"] == "Ti"].sort_values("a_angstrom").head(2)
    assert [crystal.lattice.a for crystal in chosen.structures()] == pytest.approx(chosen["a_angstrom"].tolist())
    with pytest.raises(screening.UserError, match="Keep the column `index`"):
        top.drop(columns="index").structures()


@pytest.mark.slow
def test_another_threshold_needs_no_new_prediction(run):
    low, high = run.rank(stable_at=-5.0), run.rank(stable_at=5.0)
    assert (low["p_stable"] < high["p_stable"]).all()
    assert high.attrs["stable_at"] == 5.0


def test_a_ranking_is_filtered_grouped_and_sorted_without_predicting(run):
    everything = run.rank()
    picked = run.rank(group_by="B", per_group=2, sort="tolerance_factor:desc,e_above_hull")
    assert picked.groupby("B").size().max() == 2
    assert set(picked["B"]) == set(everything["B"])
    assert picked["tolerance_factor"].is_monotonic_decreasing
    barium = run.rank(filters=("exclude=Ca,Sr", "pauling"))
    assert barium["index"].tolist() == everything[~everything["A"].isin(["Ca", "Sr"])]["index"].tolist()
    with pytest.raises(screening.UserError, match=r"`group_by` C: no such site. Choose one of A, B, X"):
        run.rank(group_by="C")
    with pytest.raises(screening.UserError, match=r"there is no filter 'nice'"):
        run.rank(filters=("nice",))


@pytest.mark.slow
def test_later_rankings_go_by_the_recipe_if_no_column_is_named(tmp_path, model_path):
    made = screening.screen("perovskites", out=tmp_path / "R.zarr", model=str(model_path), sort="tau:desc", **GRID)
    assert made.rank()["index"].tolist() == made.rank(sort="tau:desc")["index"].tolist()
    assert made.rank(sort="e_above_hull")["index"].tolist() != made.rank()["index"].tolist()
    assert "--sort tau:desc" in made.report(tmp_path / "R.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("bound", [False, True])
def test_known_energies_go_before_predicted_ones_if_asked(tmp_path, model_path, bound):
    model = load(model_path)
    keys = np.sort(composition_keys(np.array([[56, 22, 8, 8, 8], [20, 22, 8, 8, 8]], dtype=np.uint8)))
    ids = np.array([b"mp-1", b"mp,22"]).view(np.uint8).reshape(2, -1)
    labels, bounds = np.array([9.0, -9.0], dtype=np.float32), np.array([bound, False])
    known = replace(model.domain, known=keys, labels=labels, bounds=bounds, ids=ids)
    card = model.card.model_copy(update={"source": "Somebody"})
    path = save(Model(card, model.members, known), tmp_path / "known")
    sites = {"a": "Ca,Sr,Ba", "b": "Ti", "x": "O", "model": str(path)}
    run = screening.screen("perovskites", out=tmp_path / "R.zarr", **sites)
    predicted, preferred = run.rank(), run.rank(prefer_known=True)
    assert predicted["e_above_hull"].is_monotonic_increasing
    last = predicted[predicted["A"] != "Ba"]["A"].tolist() if bound else ["Sr", "Ca"]  # nothing is above its bound
    assert preferred["A"].tolist() == ["Ba", *last]
    by_site = preferred.set_index("A").loc[["Ba", "Sr", "Ca"]]  # the key of Ca is the smaller one
    assert by_site["known_e_above_hull"].tolist() == pytest.approx([-9.0, np.nan, 9.0], nan_ok=True)
    assert by_site["known_is_bound"].tolist() == [False, False, bound]
    assert by_site["known_source"].tolist() == ["Somebody", "", "Somebody"]
    assert by_site["known_id"].tolist() == ["mp,22", "", "mp-1"]
    assert run.to_xarray()["known_id"].to_numpy().tolist() == ["mp-1", "", "mp,22"]
    with StoredRun.open(run.url) as opened:
        present(opened, Outputs(csv=tmp_path / "R.csv"))
    written = pd.read_csv(tmp_path / "R.csv", keep_default_na=False).set_index("A")
    assert written.loc[["Ba", "Sr", "Ca"], "known_id"].tolist() == ["mp,22", "", "mp-1"]
    path.unlink()
    assert run.rank()["known_id"].tolist() == ["", "", ""]  # nobody is there to say
    assert predicted.set_index("A")["in_training"].to_dict() == {"Ca": True, "Sr": False, "Ba": True}


def test_runs_made_before_a_column_was_kept_are_ranked_without_it(run, tmp_path):
    with StoredRun.open(run.url) as opened:
        kept = tuple(column for column in opened.header.columns if column.name not in {"known_is_bound", "redox"})
        header = replace(opened.header, columns=kept)
        blocks = [dict(rows.columns) for rows in opened.blocks([column.name for column in kept])]
    with StoredRun.create(str(tmp_path / "old.zarr"), header) as old:
        for start, columns in zip(range(0, header.rows, header.block_rows), blocks, strict=True):
            old.commit(write_block(old.target, start, columns))
    found, now = screening.open_run(tmp_path / "old.zarr").rank(), run.rank()
    assert found["formula"].tolist() == now["formula"].tolist()
    assert found["redox"].isna().all()
    assert not now["redox"].isna().all()


@pytest.mark.slow
def test_scores_are_those_of_the_run_bit_for_bit(run, model_path):
    here = screening.score(**GRID, model=str(model_path), filters=["tolerance=0.9:1.0"])
    pd.testing.assert_frame_equal(pd.DataFrame(here), pd.DataFrame(run.rank()), check_exact=True)
    assert len(here.structures()) == len(here)
    assert len(screening.score(**GRID, model=str(model_path), top=3)) == 3


@pytest.mark.slow
def test_xarray_has_formulas_symbols_and_units_and_leaves_filtered_rows_out(run):
    data, whole = run.to_xarray(), run.to_xarray(filtered=True)
    assert whole.sizes["candidate"] == run.ledger.size
    assert 0 < data.sizes["candidate"] == run.ledger.counts["ok"] < run.ledger.size
    assert data["e_above_hull"].attrs["units"] == "eV/atom"
    assert data["site"].to_numpy().tolist() == ["A", "B", "X1", "X2", "X3"]
    ranked = run.rank().set_index("index")
    for index, formula, a, energy in zip(
        data["candidate"].to_numpy(),
        data["formula"].to_numpy(),
        data["A"].to_numpy(),
        data["e_above_hull"].to_numpy(),
        strict=True,
    ):
        row = ranked.loc[index]
        assert (formula, a, energy) == (row["formula"], row["A"], row["e_above_hull"])
    assert whole["status"].attrs["flag_values"] == [1, 2, 10]
    assert whole["status"].attrs["flag_meanings"].startswith("ok failed filtered_by_tolerance")
    assert np.isnan(whole["e_above_hull"].where(whole["status"] != 1, drop=True)).all()


@pytest.mark.slow
def test_data_sets_are_written_by_the_library_they_are_for(run, tmp_path):
    import xarray as xr

    run.to_xarray().to_zarr(tmp_path / "data.zarr", consolidated=False)
    again = xr.open_zarr(tmp_path / "data.zarr", consolidated=False)
    assert again["formula"].to_numpy().tolist() == run.to_xarray()["formula"].to_numpy().tolist()


def test_structures_and_lists_are_named_by_their_ids(tmp_path, model_path):
    listed = tmp_path / "in.csv"
    listed.write_text("id,A,B,X\nq1,Ba,Ti,O\nq2,ca,zr,O\nq3,Xx,Ti,O\n")
    table = screening.score("list", file=listed, model=str(model_path))
    assert sorted(table["id"]) == ["q1", "q2"]
    assert {crystal.composition.reduced_formula for crystal in table.structures()} == {"BaTiO3", "CaZrO3"}


@pytest.mark.slow
def test_csv_and_cif_are_written_and_a_report(tmp_path, model_path):
    sites = {"a": ["Ca"], "b": ["Ti", "Zr"], "x": ["O"], "model": str(model_path)}
    run = screening.screen("perovskites", out=tmp_path / "R", csv=tmp_path / "r.csv", cif=tmp_path / "cifs", **sites)
    assert (tmp_path / "r.csv").read_text().count("\n") == 3
    assert len(list((tmp_path / "cifs").iterdir())) == 2
    assert screening.open_run(tmp_path / "R").report(tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert run == screening.open_run(str(tmp_path / "R"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ["Xx", "O"]}, "'Xx' is not the symbol"),
        ({**GRID, "sort": "beauty"}, "^`sort` beauty: no such column"),
        ({**GRID, "model": ""}, r"^`model`: is empty: .* \(given: ''\)"),
        ({**GRID, "model": "nonesuch"}, "nonesuch: no such model"),
        ({**GRID, "stable_at": float("nan")}, "^`stable_at`: .*finite"),
        ({**GRID, "colour": "red"}, "^`colour`: .* not permitted"),
        ({"elements": "Ca,Ti,O", "a": ["Ca"]}, "either `elements`, or the sites `a`, `b` and `x`"),
    ],
)
def test_errors_name_the_setting_and_no_option(settings, message):
    with pytest.raises(screening.UserError, match=message) as error:
        screening.score(**settings)
    assert "--" not in str(error.value)


def test_a_run_that_is_not_there_is_said(tmp_path):
    with pytest.raises(screening.UserError, match="no run here"):
        screening.open_run(tmp_path / "nothing")


def test_an_unfinished_run_says_how_much_of_it_is_ranked(tmp_path, model_path):
    from screening.engine.block import Block
    from screening.engine.score import load_model, score_block
    from screening.plan import make_plan
    from screening.recipe import make_recipe

    many = {"a": ["Ca", "Sr", "Ba"], "b": ["Ti", "Zr"], "x": ["O", "N", "F"], "anions": 3}
    plan = make_plan(make_recipe(kind="perovskites", model=str(model_path), **many))
    with StoredRun.create(str(tmp_path / "R"), plan.header(16)) as stored:
        result = score_block(plan, load_model(plan), Block(0, 0, 16))
        stored.commit(write_block(stored.target, 0, result.columns))
    run = screening.open_run(tmp_path / "R")
    assert not run.complete
    assert (run.rank().attrs["committed"], run.rank().attrs["blocks"]) == (1, 4)
    assert run.to_xarray().attrs["blocks"] == "1 of 4"
    assert "1 of 4 blocks" in run.report(tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_the_import_is_light_and_the_first_table_prints():
    heavy = "{'torch', 'pymatgen', 'dask', 'distributed', 'zarr', 'numpy', 'pandas', 'pydantic', 'click'}"
    code = f"import sys, screening; print(sorted(set(sys.modules) & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
    code = "import screening; print(screening.score(a=['Ba'], b=['Ti', 'Zr'], x=['O']))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "BaTiO3" in shown.stdout
    assert "e_above_hull_std" in shown.stdout
    assert shown.stderr == ""
