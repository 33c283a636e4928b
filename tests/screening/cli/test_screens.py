"""Screening from the command line: what it writes, chooses, resumes and repeats."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest
import zarr
from pymatgen.io.cif import CifParser

from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.store import StoredRun

CONTRACT = (
    "rank,index,formula,A,B,X,e_above_hull,e_above_hull_std,p_stable,in_domain,a_angstrom,"
    "tolerance_factor,octahedral_factor,tau,charge_balanced,radii_imputed,in_training,domain_distance,"
    "state_reluctance,redox,known_e_above_hull,hhi,known_is_bound,states,known_source,known_id,"
    "e_above_hull_cubic,p_tilted,band_gap,band_gap_std,a_experiment,p_perovskite,p_leaves,e_if_stays,e_if_leaves"
)


GRID = ("--a", "Na,K,Rb,Mg,Ca,Sr,Ba,La,Y,Pb", "--b", "Ti,Zr,Hf,Nb,Ta,V,Al,Ga", "--x", "O,N,F", "--anions", "3")


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
