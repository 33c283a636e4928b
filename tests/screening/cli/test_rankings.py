"""Ranking a run again from the command line: columns, thresholds, filters, known compounds."""

import csv
import re

import pytest
import zarr

GRID = ("--a", "Na,K,Rb,Mg,Ca,Sr,Ba,La,Y,Pb", "--b", "Ti,Zr,Hf,Nb,Ta,V,Al,Ga", "--x", "O,N,F", "--anions", "3")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_run_can_be_ranked_again_by_another_column(screen, tmp_path, model_path):
    run = tmp_path / "R.zarr"
    assert screen("perovskites", *GRID, "--model", model_path, "--out", run)[0] == 0
    assert screen("rank", run, "--sort", "tolerance_factor", "--top", 7, "--csv", tmp_path / "t.csv")[0] == 0
    rows = [row for row in rows_of(tmp_path / "t.csv") if row["in_domain"] == "true"]
    factors = [float(row["tolerance_factor"]) for row in rows]
    assert factors == sorted(factors)
    assert len(rows_of(tmp_path / "t.csv")) == 7


@pytest.mark.slow
def test_the_threshold_of_stability_can_be_chosen_before_and_after(screen, tmp_path, model_path):
    arguments = ("perovskites", "--a", "Ca,Sr,Ba", "--b", "Ti,Zr", "--x", "O", "--model", model_path)
    run, whole, again, lower = (tmp_path / name for name in ("R.zarr", "whole.csv", "again.csv", "lower.csv"))
    code, shown, _ = screen(*arguments, "--out", run, "--csv", whole, "--stable-at", 0.2, "--sort", "p_stable")
    assert code == 0
    assert "P(≤0.2)" in shown
    assert zarr.open_group(str(run))["p_stable"].attrs["long_name"].endswith("at most 0.2 eV/atom")
    assert screen("rank", run, "--csv", again, "--sort", "p_stable")[:2] == (0, shown)
    assert again.read_text() == whole.read_text()
    assert "P(≤0.05)" in screen("rank", run, "--csv", lower, "--sort", "p_stable", "--stable-at", 0.05)[1]
    at = [{row["formula"]: float(row["p_stable"]) for row in rows_of(path)} for path in (lower, whole)]
    assert all(at[0][formula] < at[1][formula] for formula in at[0])
    assert "recipe" in screen(*arguments, "--out", run, "--resume")[2]


def test_what_a_filter_left_out_after_its_prediction_is_ranked_without_predicting_again(screen, tmp_path, model_path):
    run, ranked = tmp_path / "F.zarr", tmp_path / "F.csv"
    sites = ("--a", "Ca,Sr,Ba,Li", "--b", "Ti", "--x", "O", "--model", model_path, "--out", run)
    assert screen("perovskites", *sites, "--filter", "sites", "--filter", "hull=-99")[0] == 1  # nothing to rank
    code, _, stderr = screen("rank", run, "--csv", ranked)
    assert (code, "all were filtered" in stderr) == (1, True)
    code, _, stderr = screen("rank", run, "--no-filter", "--csv", ranked)
    assert code == 0
    assert "note: 1 candidates were left out before they were predicted" in stderr
    assert {row["A"] for row in rows_of(ranked)} == {"Ca", "Sr", "Ba"}
    code, _, stderr = screen("rank", run, "--no-filter", "--filter", "exclude=Sr", "--csv", ranked)
    assert (code, "filters sites (of the run); exclude=Sr (of this ranking)" in stderr) == (0, True)
    assert {row["A"] for row in rows_of(ranked)} == {"Ca", "Ba"}


def test_a_filter_is_added_to_those_of_chemistry_or_of_a_recipe_and_all_are_printed(screen):
    for words in (("perovskites", "--elements", "Ca,Ti,O"), ("run", "castelli-oxides")):
        _, _, before = screen(*words, "--dry-run")
        usual = before.partition("filters ")[2].partition(" (")[0]
        assert f"filters {usual}, gap=1.0:2.0:0.5 (" in screen(*words, "--filter", "gap=1:2", "--dry-run")[2]
        assert "filters gap=1.0:2.0:0.5 (" in screen(*words, "--no-filter", "--filter", "gap=1:2", "--dry-run")[2]
        assert "filters " not in screen(*words, "--no-filter", "--dry-run")[2]


def test_what_a_user_has_is_marked_or_dropped_by_every_screen_and_by_recipes(screen, tmp_path, model_path):
    mine, recipe, ranked = tmp_path / "mine.csv", tmp_path / "r.toml", tmp_path / "R.csv"
    mine.write_text("formula,material_id\nTiSrO3,mp-4651\n")
    sites = ("--a", "Ca,Sr,Ba", "--b", "Ti", "--x", "O", "--model", model_path)
    stdout = screen("perovskites", *sites, "--out", tmp_path / "A.zarr", "--known", mine, "--csv", ranked)[1]
    assert {row["formula"]: row["known_as"] for row in rows_of(ranked)} == {
        "SrTiO3": "mp-4651",
        "CaTiO3": "",
        "BaTiO3": "",
    }
    assert "mp-4651" in stdout
    recipe.write_text(
        f'kind = "perovskites"\na = ["Ca", "Sr"]\nb = ["Ti"]\nx = ["O"]\nmodel = "{model_path}"\n'
        f'known = "{mine}"\ndrop_known = true\ncsv = "{ranked}"\nout = "{tmp_path / "B.zarr"}"\n'
    )
    assert screen("run", recipe)[0] == 0
    assert [row["formula"] for row in rows_of(ranked)] == ["CaTiO3"]
    code, _, stderr = screen("perovskites", *sites, "--out", tmp_path / "C.zarr", "--drop-known")
    assert (code, (tmp_path / "C.zarr").exists()) == (1, False)
    assert "there is nothing --known to drop" in stderr


@pytest.mark.slow
def test_a_ranking_of_an_unfinished_run_says_how_much_of_it_there_is(screen, tmp_path, model_path):
    run = tmp_path / "R.zarr"
    assert screen("perovskites", *GRID, "--model", model_path, "--block-size", 512, "--out", run)[0] == 0
    assert "partial" not in screen("rank", run)[2]
    (part,) = run.rglob("part-*.jsonl")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(lines[0])
    said = f"R.zarr: 1 of {len(lines)} blocks: partial."
    assert said in screen("rank", run)[2]
    assert said in screen("report", run, "-o", tmp_path / "r.html")[2]
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"1 of {len(lines)} blocks are done. Everything below covers these blocks only." in page


@pytest.mark.slow
def test_cif_files_of_two_rankings_are_never_mixed(screen, tmp_path, model_path):
    run, cifs = tmp_path / "R.zarr", tmp_path / "cifs"
    small = ("perovskites", "--a", "Ca,Sr,Ba,La", "--b", "Ti,Zr,Ta", "--x", "O,N", "--model", model_path)
    assert screen(*small, "--out", run, "--cif", cifs, "--top", 9)[0] == 0
    before = sorted(cifs.iterdir())
    assert screen("rank", run, "--cif", cifs, "--top", 9)[0] == 0  # the same ranking again
    (cifs / "notes.txt").write_text("mine")
    for again in (("rank", run, "--top", 3), (*small, "--out", tmp_path / "other.zarr")):
        code, _, stderr = screen(*again, "--cif", cifs)
        assert code == 1
        assert re.search(r"--cif \S+cifs: holds \d CIF files of another ranking, such as 000\d-", stderr)
    assert not (tmp_path / "other.zarr").exists()
    assert sorted(cifs.glob("*.cif")) == before
