import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import zarr
from pymatgen.io.cif import CifParser

from cgcnn.cli.options import plain
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.cli import commands as cli
from screening.store import StoredRun

CONTRACT = (
    "rank,index,formula,A,B,X,e_above_hull,e_above_hull_std,p_stable,in_domain,a_angstrom,"
    "tolerance_factor,octahedral_factor,tau,charge_balanced,radii_imputed,in_training,domain_distance,"
    "state_reluctance,redox,known_e_above_hull,hhi,known_is_bound,states,known_source,known_id,"
    "e_above_hull_cubic,p_tilted,band_gap,band_gap_std,a_experiment,p_perovskite,p_leaves,e_if_stays,e_if_leaves"
)
GRID = ("--a", "Na,K,Rb,Mg,Ca,Sr,Ba,La,Y,Pb", "--b", "Ti,Zr,Hf,Nb,Ta,V,Al,Ga", "--x", "O,N,F", "--anions", "3")


@pytest.fixture
def screen(monkeypatch, capsys):
    """Run the command in this process; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    monkeypatch.setenv("COLUMNS", "200")
    return call


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def arrays(path):
    group = zarr.open_group(str(path), mode="r")
    return {name: np.asarray(group[name][:]).tobytes() for name in group.array_keys()}


@pytest.mark.slow
def test_named_elements_become_a_ranked_csv_and_a_table(screen, tmp_path, model_path):
    out = ("--out", tmp_path / "R.zarr", "--csv", tmp_path / "R.csv", "--cif", tmp_path / "cifs")
    code, stdout, stderr = screen("perovskites", "--elements", "Ca,Sr,Ba,La,Ti,Zr,O,N", "--model", model_path, *out)
    assert code == 0, stderr
    rows = rows_of(tmp_path / "R.csv")
    assert ",".join(rows[0]) == CONTRACT
    assert [row["rank"] for row in rows] == [str(i + 1) for i in range(len(rows))]
    energies = [float(row["e_above_hull"]) for row in rows]
    assert energies == sorted(energies)
    assert {row["charge_balanced"] for row in rows} == {"true"}
    assert stdout.count("\n") == len(rows) + 1
    assert rows[0]["formula"] in stdout
    assert "filtered by charge" in stderr
    assert len(list((tmp_path / "cifs").glob("*.cif"))) == len(rows)
    assert [row["states"] for row in rows if row["formula"] == "CaTiO3"] == ["Ca2+ Ti4+ O2-"]
    assert "filters charge, sites, redox=-0.5, tau=4.8" in stderr
    picked = ("--csv", tmp_path / "few.csv", "--group-by", "B", "--filter", "exclude=Ca,La")
    assert screen("rank", tmp_path / "R.zarr", *picked)[0] == 0
    few = rows_of(tmp_path / "few.csv")
    assert [row["B"] for row in few] == sorted({row["B"] for row in few}, key=[row["B"] for row in few].index)
    assert {row["A"] for row in few} <= {"Sr", "Ba"}


def test_filters_are_listed_with_meaning_and_source(screen):
    code, stdout, _ = screen("filters")
    assert code == 0
    assert all(name in stdout for name in ("redox=MIN", "exclude=EL,EL,…", "Gaultois", "lanthanides", "tau=4.8"))


def test_oxidation_states_are_chosen_and_stay_with_the_run(screen, tmp_path, model_path):
    (tmp_path / "mine.csv").write_text("element,state\nFe,3\n")
    fe = ("perovskites", "--a", "Sr,La", "--b", "Fe", "--x", "O", "--model", model_path, "--filter", "charge")
    out = ("--out", tmp_path / "R.zarr", "--csv", tmp_path / "R.csv")
    assert screen(*fe, *out, "--oxidation-states", tmp_path / "mine.csv")[0] == 0
    assert [row["states"] for row in rows_of(tmp_path / "R.csv")] == ["La3+ Fe3+ O2-"]
    code, _, stderr = screen(*fe, *out, "--resume")
    assert code == 1
    assert "states" in stderr
    code, _, stderr = screen(*fe, *out, "--oxidation-states", "rare")
    assert code == 1
    assert "rare: No such file. Give a CSV file. Sets with a name are common, icsd, all." in stderr


@pytest.mark.slow
def test_runs_with_other_blocks_and_workers_are_bit_identical(screen, tmp_path, model_path):
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    common = ("perovskites", *GRID, "--model", model_path, "--filter", "tolerance")
    assert screen(*common, "--out", one, "--workers", 1, "--block-size", 5000)[0] == 0
    assert screen(*common, "--out", two, "--workers", 2, "--block-size", 100)[0] == 0
    assert zarr.open_group(str(one))["status"].shards != zarr.open_group(str(two))["status"].shards
    assert arrays(one) == arrays(two)
    code, _, stderr = screen(*common, "--out", tmp_path / "here.zarr")
    assert code == 0
    assert "this process" in stderr
    assert arrays(one) == arrays(tmp_path / "here.zarr")


ANOTHER_PROCESS = """
import sys
from screening.cli import main
sys.argv[0] = "screen"
try:
    main()
finally:
    print(*sorted({"torch", "distributed", "pandas", "matplotlib"} & set(sys.modules)), file=sys.stderr)
"""


def test_few_candidates_are_screened_without_torch_and_without_workers(tmp_path, model_path):
    arguments = ["perovskites", *GRID, "--model", str(model_path), "--out", "R.zarr", "--csv", "R.csv"]
    command = [sys.executable, "-c", ANOTHER_PROCESS, *arguments]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == ""
    assert rows_of(tmp_path / "R.csv")


@pytest.mark.slow
def test_a_dry_run_promises_what_the_run_then_counts(screen, tmp_path, model_path):
    arguments = ("perovskites", *GRID, "--model", model_path, "--filter", "charge", "--filter", "tau")
    code, promised, _ = screen(*arguments, "--dry-run", "--out", tmp_path / "R.zarr")
    assert code == 0
    assert not (tmp_path / "R.zarr").exists()
    assert promised in screen(*arguments, "--out", tmp_path / "R.zarr")[2]


@pytest.mark.slow
def test_resume_redoes_only_what_is_missing_and_gives_the_same_run(screen, tmp_path, model_path):
    whole, torn = tmp_path / "whole.zarr", tmp_path / "torn.zarr"
    arguments = ("perovskites", *GRID, "--model", model_path, "--block-size", 512)
    assert screen(*arguments, "--out", whole)[0] == 0
    assert screen(*arguments, "--out", torn, "--resume")[0] == 0  # nothing there yet: begins
    (part,) = torn.rglob("part-*.jsonl")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:1]))
    kept = f"c.{next(StoredRun.open(str(torn)).blocks(['status'])).start // 512}"
    for shard in (torn / "e_above_hull").glob("c.*"):
        if shard.name != kept:
            shard.unlink()
    code, _, stderr = screen(*arguments, "--out", torn, "--resume")
    assert code == 0
    assert f"{len(lines) - 1} of {len(lines)} blocks to do" in stderr
    assert arrays(torn) == arrays(whole)
    assert "to do" not in screen(*arguments, "--out", torn, "--resume")[2]


@pytest.mark.slow
def test_listed_candidates_keep_their_ids(screen, tmp_path, model_path):
    listed = tmp_path / "in.csv"
    listed.write_text(
        "id,A,B,X1,X2,X3,formula\nq1,Ba,Ti,O,O,O,mine\nq2,La,Ta,N,O,O,\nq3,Cs,Pb,I,I,I,\nq2,La,Ta,O,N,O,\n"
    )
    out = ("--out", tmp_path / "L.zarr", "--csv", tmp_path / "L.csv")
    code, _, stderr = screen("list", listed, "--model", model_path, *out)
    assert code == 0
    rows = rows_of(tmp_path / "L.csv")
    assert list(rows[0])[:8] == ["rank", "index", "formula", "A", "B", "X1", "X2", "X3"]
    assert sorted(row["id"] for row in rows) == ["q1", "q2", "q2", "q3"]
    assert next(row["input_formula"] for row in rows if row["id"] == "q1") == "mine"
    assert len({row["e_above_hull"] for row in rows if row["id"] == "q2"}) == 1
    assert rows[-1]["id"] == "q3"
    assert rows[-1]["in_domain"] == "false"
    assert "1 of 4 ranked candidates have an element that untrained never saw" in stderr


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
@pytest.mark.usefixtures("shipped_models")
def test_double_perovskites_are_ranked_in_rows_of_their_own(screen, tmp_path):
    run, ranked, cifs = tmp_path / "D.zarr", tmp_path / "D.csv", tmp_path / "cifs"
    arguments = ("double-perovskites", "--elements", "Cs,Na,Ag,Bi,In,Cl,Br", "--out", run)
    code, promised, _ = screen(*arguments, "--dry-run")
    assert code == 0
    code, stdout, stderr = screen(*arguments, "--csv", ranked, "--cif", cifs)
    assert code == 0, stderr
    assert promised in stderr
    assert "model mp (by default mp; castelli where elements mix on X" in stderr
    assert "hull: Materials Project; an energy of 0 is stable" in stderr
    rows = rows_of(ranked)
    assert ",".join(rows[0]) == CONTRACT.replace(",B,", ",B,B',").replace(",states,", ",states,b_order,")
    formulas = {row["formula"] for row in rows}
    assert {"Cs2AgBiBr6", "Cs2NaInCl6"} <= formulas
    assert len(formulas) == len(rows)
    assert rows[0]["formula"] in stdout
    cif = CifParser(next(cifs.glob("0001-*.cif"))).parse_structures(primitive=False)[0]
    assert (len(cif), cif.get_space_group_info()[0]) == (10, "Fm-3m")
    assert cif.lattice.a == pytest.approx(2**0.5 * abs(float(rows[0]["a_angstrom"])), abs=1e-3)
    assert screen("verify", run)[0] == 0
    assert "to do" not in screen(*arguments, "--resume")[2]
    assert screen("rank", run, "--sort", "tau", "--top", 3)[0] == 0


def test_one_model_is_chosen_for_a_screen_and_named(screen, shipped_models):
    def named(*arguments):
        return re.search("^model (.*), hull", screen(*arguments, "--dry-run")[2], re.MULTILINE)[1]

    oxide = ("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O")
    assert named(*oxide).startswith("mp (by default")
    assert named(*oxide, "--model", shipped_models / "mp") == "mp"
    assert named("perovskites", "--a", "Ca,Cs", "--b", "Ti", "--x", "O,Cl").startswith("mp (by default")
    assert named("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O,N", "--anions", "2").startswith("untrained (by")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("perovskites", "--elements", "Xx,O"), "'Xx' is not the symbol of an element"),
        (("perovskites", "--elements", "Ca,O"), "no element fits site B"),
        (("perovskites",), "name either --elements"),
        (("perovskites", "--elements", "Ca,Ti,O", "--out", "{tmp}/no/such/R.zarr"), "there is no directory"),
        (("perovskites", "--elements", "Ca,Ti,O", "--csv", "{tmp}/no/R.csv"), "--csv .* there is no directory"),
        (("perovskites", "--elements", "Ca,Ti,O", "--model", "{tmp}/not-a-model.safetensors"), "model"),
        (("perovskites", "--elements", "Ca,Ti,O", "--model", "nonesuch"), "nonesuch: no such model"),
        (("perovskites", "--elements", "Ca,Ti,O", "--filter", "beauty"), "there is no filter 'beauty'"),
        (("perovskites", "--elements", "Ca,Ti,O", "--sort", "beauty"), "--sort beauty: no such column"),
        (("double-perovskites", "--a", "Ca", "--b", "Ti", "--x", "O"), "Only Ti for B and B'"),
        (("double-perovskites", "--elements", "Ca,Ti,O"), "no two elements fit B and B'"),
        (
            ("double-perovskites", "--a", "Ca", "--b", "Ti,Zr", "--x", "O", "--model", "castelli"),
            "--model castelli: trained for cubic-perovskite; the candidates are double-perovskite",
        ),
        (("list", "{tmp}/nowhere.csv"), "nowhere.csv: No such file"),
        (("perovskites", "--elements", "Ca,Ti,O", "--stable-at", "inf"), "--stable-at: .*finite"),
        (("rank", "{tmp}"), "no run here"),
        (("rank", "{tmp}", "--stable-at", "nan"), "--stable-at nan: not an energy"),
        (("run", "nonesuch"), "nonesuch: no such recipe"),
    ],
)
def test_bad_input_gives_one_clear_line_and_leaves_nothing(screen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-a-model.safetensors").write_bytes(b"not a model")
    before = sorted(tmp_path.rglob("*"))
    code, stdout, stderr = screen(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert code == 1
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert re.fullmatch(f"screen: .*{message}.*\n", stderr)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_an_existing_run_is_left_alone_without_resume(screen, tmp_path, model_path):
    candidate = ("--a", "Ca", "--b", "Ti", "--x", "O")
    arguments = ("perovskites", *candidate, "--model", model_path, "--out", tmp_path / "R.zarr")
    assert screen(*arguments)[0] == 0
    code, _, stderr = screen(*arguments)
    assert code == 1
    assert "exists and holds a run (1 of 1 blocks). Pass --resume" in stderr
    code, _, stderr = screen(*arguments, "--filter", "charge", "--resume")
    assert code == 1
    assert "cannot resume, filters" in stderr


def test_wrong_usage_exits_with_2(screen):
    assert screen("perovskites", "--bogus")[0] == 2
    assert screen("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", "--anions", "4")[0] == 2


def test_what_is_shipped_is_listed(screen):
    code, models, _ = screen("models")
    assert code == 0
    assert re.search(r"castelli +for +Energy above hull of cubic ABX3", models)
    assert re.search(r"error +e_above_hull: MAE 0\.\d+ eV/atom", models)
    assert re.search(r"takes +elements on the sites of cubic-perovskite", models)
    assert re.search(r"hull +Castelli et al\. 2012", models)
    assert max(map(len, models.splitlines())) <= 100
    code, recipes, _ = screen("recipes")
    assert code == 0
    assert "cgcnn train DATA --recipe castelli" in recipes


@pytest.mark.slow
def test_both_commands_answer_as_modules():
    for module in ("screening", "cgcnn"):
        shown = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
        assert "Usage" in shown.stdout


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


@pytest.mark.slow
def test_rows_of_a_list_that_are_no_candidates_fail_and_are_all_named(screen, tmp_path, model_path):
    listed, out = tmp_path / "in.csv", ("--out", tmp_path / "L.zarr", "--csv", tmp_path / "L.csv")
    listed.write_text("id,A,B,X,reason\nq1,ba,Ti,O,why\nq2,Xx,Ti,O,\nq3,Ca,,O,\nq4,Ca,Zr,O,\nq5,Ca\n")
    code, promised, _ = screen("list", listed, "--model", model_path, "--dry-run")
    code, stdout, stderr = screen("list", listed, "--model", model_path, *out)
    assert code == 0, stderr
    assert promised in stderr
    assert re.search(r"\n5 candidates\n  ok +2\n  failed +3\n", stderr)
    assert "3 failed, the first is q2: line 3, column A: 'Xx' is not the symbol" in stderr
    assert {row["id"] for row in rows_of(tmp_path / "L.csv")} == {"q1", "q4"}
    failures = rows_of(tmp_path / "L.failures.csv")
    assert [(row["index"], row["id"]) for row in failures] == [("1", "q2"), ("2", "q3"), ("4", "q5")]
    assert [row["reason"][:6] for row in failures] == ["line 3", "line 4", "line 6"]
    assert screen("verify", tmp_path / "L.zarr")[0] == 0
    assert "BaTiO3" in stdout
    assert "to do" not in screen("list", listed, "--model", model_path, *out, "--resume")[2]
    code, _, stderr = screen("list", listed, "--model", model_path, "--out", tmp_path / "S.zarr", "--strict")
    assert (code, stderr.count("\n")) == (1, 1)
    assert "in.csv, line 3, column A: 'Xx'" in stderr


HOSTILE = ("\x1b[2J\x1b]0;title\x07", "[red]bold[/red]", "[/2]", "=cmd|' /C calc'!A0", ":smile: \u202e")


@pytest.mark.slow
def test_hostile_texts_are_plain_text_everywhere(screen, tmp_path, model_path):
    lines = "".join(f'"{name}",Ba,Ti,O\n"{name}",Xx,Ti,O\n' for name in HOSTILE)
    (tmp_path / "in.csv").write_text(f"id,A,B,X\n{lines}", encoding="utf-8")
    out = ("--out", tmp_path / "[red]L.zarr", "--csv", tmp_path / "L.csv")
    code, stdout, stderr = screen("list", tmp_path / "in.csv", "--model", model_path, *out)
    assert code == 0, stderr
    assert not {"\x1b", "\x07", "\u202e"} & set(stdout + stderr)
    assert r"\x1b[2J" in stderr
    for name in ("L.csv", "L.failures.csv"):
        ids = [row["id"] for row in rows_of(tmp_path / name)]
        assert len(ids) == 5
        assert not [text for text in ids if text.startswith("=") or "\x1b" in text]


def test_hostile_ids_of_structures_are_shown_as_they_are(screen, tmp_path):
    from cgcnn.graphs.prototype import CUBIC_PEROVSKITE

    crystal = CUBIC_PEROVSKITE.structure([56, 22, 8, 8, 8], 4.0).as_dict()
    records = [{"id": name, "structure": crystal} for name in HOSTILE]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    settings = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
    model = save(untrained_for_structures(settings), tmp_path / "model")
    out = ("--out", tmp_path / "S.zarr")
    code, stdout, stderr = screen("structures", tmp_path / "some.jsonl", "--model", model, *out)
    assert code == 0, stderr
    assert all(plain(name) in stdout for name in HOSTILE)
    assert "\x1b" not in stdout + stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", ""), "--model: is empty"),
        (("--out", ""), "--out: is empty"),
        (("--share", "1/" + "9" * 5000), "--share 1/9{58}…9+: write K/N"),
        (("--csv", "n" * 300), "File name too long"),
        (("--out", "n" * 300), "File name too long"),
        (("--cif", "n" * 300), "File name too long"),
        (("--model", "n" * 5000), "File name too long"),
        (("--stable-at", "1e999"), "--stable-at: .*finite"),
        (("--sort", "x" * 5000), "no such column"),
        (("--cluster", "n" * 5000), "File name too long"),
    ],
)
def test_odd_values_give_one_clear_line(screen, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = screen("perovskites", "--a", "Ca", "--b", "Ti", "--x", "O", *arguments)
    assert (code, stdout) == (1, "")
    assert re.search(message, stderr), stderr
    assert "unexpected" not in stderr
    assert len(stderr.splitlines()[-1]) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "--workers 1 <&- >&- 2>&-"])
def test_results_are_written_though_nobody_reads_what_is_told(tmp_path, model_path, redirect):
    command = f"{sys.executable} -m screening perovskites --a Ca --b Ti --x O --model {model_path}"
    line = f"{command} --out {tmp_path}/R.zarr --csv {tmp_path}/R.csv {redirect}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert (done.returncode, len(rows_of(tmp_path / "R.csv"))) == (0, 1), done.stderr


@pytest.mark.slow
def test_a_table_in_ascii_is_no_error(tmp_path, model_path):
    command = [sys.executable, "-m", "screening", "perovskites", "--a", "Ca", "--b", "Ti", "--x", "O"]
    out = ["--model", str(model_path), "--out", str(tmp_path / "R.zarr")]
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, *out], capture_output=True, check=False, env=ascii_only)
    assert (done.returncode, b"CaTiO3" in done.stdout) == (0, True), done.stderr


def test_a_folder_is_screened_again_without_what_was_written_into_it(screen, tmp_path, monkeypatch):
    from cgcnn.graphs.prototype import CUBIC_PEROVSKITE

    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name, b in (("one", 22), ("two", 40)):
        CUBIC_PEROVSKITE.structure([56, b, 8, 8, 8], 4.0).to(filename=str(inputs / f"{name}.cif"))
    (inputs / "odd.cif").write_text("data_odd\n")
    settings = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
    model = save(untrained_for_structures(settings), tmp_path / "model")
    monkeypatch.chdir(inputs)
    arguments = ("structures", ".", "--model", model, "--out", "R.zarr", "--csv", "ranked.csv", "--cif", "best")
    code, _, stderr = screen(*arguments)
    assert code == 0, stderr
    assert "skipped" not in stderr
    first = (inputs / "ranked.csv").read_bytes()
    for path in ("best.extxyz", "best.db", "best.json", "best.jsonl", "poscars"):
        assert screen("rank", "R.zarr", "--export", path, *(("--as", "poscar") if path == "poscars" else ()))[0] == 0
    code, _, stderr = screen(*arguments, "--resume")
    assert code == 0, stderr
    assert "skipped 11 outputs or hidden files" in stderr
    assert (inputs / "ranked.csv").read_bytes() == first
    everything = sorted(path.name for path in inputs.iterdir())  # as a shell's *
    code, _, stderr = screen("structures", *everything, "--model", model, "--dry-run")
    assert code == 0, stderr


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--a", "Calcium", "--b", "Ti", "--x", "O"), "'Calcium' .* Write the symbol: Ca."),
        (("--a", "MA,FA", "--b", "Pb", "--x", "I"), "'MA' .* Organic cations are not supported yet"),
        (("--a", "Ca Sr", "--b", "Ti", "--x", "O"), "'Ca Sr' .* Separate several by commas: Ca,Sr."),
        (("--a", "Ca2+", "--b", "Ti", "--x", "O"), "'Ca2.' .* Write the symbol: Ca."),
        (("--a", "Cs", "--b", "Pb", "--x", "halides"), "'halides' .* Name the elements: F,Cl,Br,I."),
        (("--elements", "CaO,Ti"), "'CaO' .* not a formula: write Ca, or several with commas: Ca,O."),
        (("--elements", "Ca,Ti,O", "--filter", "exclude=lead"), "exclude.*Write the symbol: Pb."),
    ],
)
def test_names_of_elements_that_are_no_symbols_get_a_hint_that_fits(screen, arguments, hint):
    code, _, stderr = screen("perovskites", *arguments, "--dry-run")
    assert code == 1
    assert re.search(hint, stderr), stderr
