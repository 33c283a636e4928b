"""Structures as candidates: what goes in, what comes out, and that nothing but their content decides it."""

import csv
import gzip
import json
import lzma
import pickle
import re
import sys

import numpy as np
import pytest
import zarr
from pymatgen.core import Lattice, Structure

from cgcnn.data.samples import from_record
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.inference.predict import BATCH
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.candidates.structures import formula
from screening.cli import commands as cli
from screening.engine.block import Block
from screening.engine.score import build_block, failed_block, infer_block, load_model, score_block
from screening.plan import make_plan
from screening.ranking.results import dry_ledger
from screening.recipe import make_recipe
from screening.status import Status
from screening.store import StoredRun, verify, write_block

SETTINGS = Settings(targets=("e_above_hull", "band_gap"), width=8, layers=2, hidden=8, gaussians=12)
TWO_KINDS = 'kind = "local"\nbuilders = 1\ninference = 1\n'
IDEAL = CUBIC_PEROVSKITE.frac


def perovskite(a="Ba", b="Ti", x="O", length=4.0, shift=0.0):
    frac = np.array(IDEAL) + np.array([[shift, 0, 0]] + [[0, 0, 0]] * 4)
    return Structure(Lattice.cubic(length), [a, b, x, x, x], frac)


def line(name, crystal):
    cell = [*crystal.lattice.abc, *crystal.lattice.angles]
    species = [site.specie.symbol for site in crystal]
    return json.dumps({"id": name, "cell": cell, "species": species, "frac": crystal.frac_coords.tolist()})


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save(untrained_for_structures(SETTINGS), tmp_path_factory.mktemp("model") / "random")


@pytest.fixture(scope="module")
def gap_path(tmp_path_factory):
    settings = Settings(targets=("band_gap",), width=8, layers=1, hidden=8, gaussians=12)
    return save(untrained_for_structures(settings), tmp_path_factory.mktemp("gap") / "gap")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A folder of files of many kinds, some of them broken, and a file of lines: the two paths."""
    folder = tmp_path_factory.mktemp("input") / "files"
    folder.mkdir()
    perovskite("Sr").to(filename=str(folder / "a.cif"))
    (folder / "b.cif").write_text("this is no CIF")
    Structure(Lattice.cubic(3.6), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0, 0, 0], [0.5] * 3]).to(
        filename=str(folder / "c.cif")
    )
    Structure(Lattice.cubic(30), ["H"], [[0, 0, 0]]).to(filename=str(folder / "d.vasp"), fmt="poscar")
    (folder / "e.json").write_text(perovskite("Ca", shift=0.02).to_json())
    (folder / "f.json.gz").write_bytes(gzip.compress(b"{oops"))
    (folder / "g.cif").write_text(perovskite("Cs").to(fmt="cif").replace("Cs", "Rf"))
    (folder / "h.cif").write_text(perovskite("Ba").to(fmt="cif").replace("4.0", "0.04"))
    lines = folder.parent / "more.jsonl.xz"
    lines.write_bytes(
        lzma.compress("\n".join(line(f"m{i}", perovskite(length=3.8 + i / 50)) for i in range(5)).encode())
    )
    return [folder, lines]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of 200 different structures."""
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    elements = ("Ca", "Sr", "Ba", "La", "K")
    crystals = (perovskite(elements[i % 5], length=3.7 + i / 500, shift=i % 7 / 100) for i in range(200))
    path.write_text("".join(f"{line(f'n{i}', crystal)}\n" for i, crystal in enumerate(crystals)))
    return path


@pytest.fixture
def screen(monkeypatch, capsys, tmp_path):
    """Run the command in this process; returns its exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["screen", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code, *capsys.readouterr()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return call


@pytest.fixture
def filled(tmp_path, model_path, many):
    """A run of `many` in this process, without workers: its path, and the command that goes on with it."""
    plan, model, path = plan_of(model_path, many), load(model_path), tmp_path / "R.zarr"
    with StoredRun.create(str(path), plan.header(128), records=plan.candidates.records) as run:
        for number in range(run.header.n_blocks):
            result = score_block(plan, model, Block(number, *run.header.bounds(number)))
            run.commit(write_block(run.target, result.block.start, result.columns, failures=result.failures))
    return path, ("structures", many, "--model", model_path, "--out", path, "--top", 1, "--resume")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def arrays(path):
    group = zarr.open_group(str(path), mode="r")
    return {name: np.asarray(group[name][:]).tobytes() for name in group.array_keys()}


def plan_of(model_path, *paths):
    return make_plan(make_recipe(kind="structures", paths=paths, model=str(model_path)))


@pytest.mark.slow
def test_structures_of_many_kinds_are_ranked_and_what_is_broken_is_a_row_with_its_reason(
    screen, tmp_path, mixed, model_path
):
    out = ("--csv", "R.csv", "--cif", "best", "--top", 3, "--workers", 1)
    code, stdout, stderr = screen("structures", *mixed, "--model", model_path, *out)
    assert code == 0, stderr
    rows = rows_of(tmp_path / "R.csv")
    columns = ["rank", "index", "formula", "id", "e_above_hull", "e_above_hull_std", "p_stable", "in_domain"]
    assert list(rows[0]) == [*columns, "perovskite", "path"]
    assert {row["perovskite"] for row in rows} <= {"single cubic a0a0a0", "single distorted a0a0a0"}
    assert re.search(r"\n13 candidates\n  ok +7\n  failed +6\n", stderr)
    failures = {row["id"]: row["reason"] for row in rows_of(tmp_path / "R.failures.csv")}
    assert list(failures) == ["b", "c", "d", "f", "g", "h"]
    for name, reason in {
        "b": "not a crystal",
        "c": "partially occupied",
        "d": "0 neighbours within 8 Å",
        "f": "not JSON",
        "g": "not an element that models know",
        "h": "0.3 to 2000 are possible",
    }.items():
        assert reason in failures[name], name
    assert f"6 failed, the first is b: {failures['b']}; R.failures.csv has all reasons" in stderr
    assert stdout.count("\n") == 4
    assert {row["formula"] for row in rows} <= {"SrTiO3", "CaTiO3", "BaTiO3"}
    for row, path in zip(rows, sorted((tmp_path / "best").iterdir()), strict=True):
        assert path.name == f"000{row['rank']}-{row['formula']}-{row['index']}.cif"
        assert Structure.from_file(path).composition.reduced_formula == row["formula"]
    assert screen("verify", "structures.zarr")[0] == 0


def test_a_run_needs_its_files_no_more_and_knows_them_by_content(screen, tmp_path, many, filled):
    path, (_, _, *arguments) = filled
    other = tmp_path / "other.jsonl.gz"
    other.write_bytes(gzip.compress(many.read_bytes()))
    assert screen("structures", other, *arguments)[0] == 0
    other.write_bytes(gzip.compress(many.read_bytes().replace(b"Ti", b"Zr", 1)))
    code, _, stderr = screen("structures", other, *arguments)
    assert code == 1
    assert "cannot resume, digest of the input: the run has" in stderr
    code, stdout, _ = screen("rank", path, "--sort", "p_stable", "--top", 30, "--cif", "cifs")
    assert code == 0
    assert "SrTiO3" in stdout
    assert len(list((tmp_path / "cifs").iterdir())) == 30


def test_damaged_records_are_found_and_put_back_by_resume(screen, filled):
    path, arguments = filled
    (chunk,) = (path / "status/manifest/records").glob("*.gz")
    whole = chunk.read_bytes()
    for damage in (lambda: chunk.write_bytes(whole[:99] + b"?" + whole[100:]), chunk.unlink):
        damage()
        code, stdout, _ = screen("verify", path)
        assert code == 1
        assert "records: status/manifest/records/000000.jsonl.gz: " in stdout
        assert "the same input: that puts the records back" in stdout
        assert "the same input: that puts the records back" in screen("rank", path, "--top", 1)[2]
        assert screen(*arguments)[0] == 0
        assert chunk.read_bytes() == whole
    assert screen("verify", path)[0] == 0


@pytest.mark.slow
def test_two_kinds_of_workers_give_the_same_bits(screen, tmp_path, many, model_path, filled):
    (tmp_path / "two.toml").write_text(TWO_KINDS)
    common = ("structures", many, "--model", model_path, "--top", 1, "--out", "two.zarr")
    code, _, stderr = screen(*common, "--cluster", "two.toml", "--block-size", 64)
    assert code == 0
    assert "4 of 4 blocks to do" in stderr
    assert arrays(tmp_path / "two.zarr") == arrays(filled[0])


def test_a_structure_gets_the_same_bits_whatever_the_blocks_and_the_way(model_path, many):
    plan, model = plan_of(model_path, many), load(model_path)
    whole = score_block(plan, model, Block(0, 0, plan.candidates.count)).columns
    part = Block(1, BATCH, plan.candidates.count)
    travelled = pickle.loads(pickle.dumps(build_block(plan, model, part), protocol=5))
    for name, values in infer_block(plan, model, travelled).columns.items():
        assert values.tobytes() == whole[name][BATCH:].tobytes(), name
    assert (whole["status"] == Status.OK).all()
    assert len(np.unique(whole["e_above_hull"])) > 150


def test_predictions_are_those_of_the_model_library(model_path, many):
    from cgcnn.inference.predict import predict_samples

    model = load(model_path)
    entries = [from_record(json.loads(text), i) for i, text in enumerate(many.read_text().splitlines())]
    mean, spread = predict_samples(model, entries).estimates["e_above_hull"]
    found = score_block(plan_of(model_path, many), model, Block(0, 0, len(entries))).columns
    np.testing.assert_allclose(found["e_above_hull"], mean, atol=1e-6)
    np.testing.assert_allclose(found["e_above_hull_std"], spread, atol=1e-6)


def test_crystals_with_an_element_that_training_never_saw_rank_last(screen, tmp_path, many):
    model = untrained_for_structures(SETTINGS)
    card = model.card.model_copy(update={"elements": ("Ba", "K", "La", "O", "Sr", "Ti")})
    path = save(Model(card, model.members), tmp_path / "knows")
    code, _, stderr = screen("structures", many, "--model", path, "--csv", "R.csv")
    assert code == 0
    assert "warning: 40 of 200 ranked candidates have an element that untrained never saw" in stderr
    rows = rows_of(tmp_path / "R.csv")
    assert [row["in_domain"] for row in rows] == ["true"] * 160 + ["false"] * 40
    assert all(("Ca" in row["formula"]) == (row["in_domain"] == "false") for row in rows)


def test_a_block_that_cannot_be_scored_still_has_all_its_structures(model_path, many):
    plan = plan_of(model_path, many)
    result = failed_block(plan, Block(1, 64, 70), "it broke")
    np.testing.assert_array_equal(result.columns["fingerprint"], plan.candidates.identity(64, 70)["fingerprint"])
    assert (result.columns["status"] == Status.FAILED).all()
    assert result.failures == dict.fromkeys(range(64, 70), "it broke")


def test_a_dry_run_counts_what_cannot_be_parsed(model_path, mixed):
    ledger = dry_ledger(plan_of(model_path, *mixed))
    assert ledger.counts == {"ok": 7, "failed": 6}


def test_a_row_that_is_another_structure_is_found(filled, many, model_path):
    plan = plan_of(model_path, many)
    wrong = verify(
        str(filled[0]), lambda start, stop: {"fingerprint": plan.candidates.identity(start, stop)["fingerprint"][::-1]}
    )
    assert "its fingerprint is not that of the candidates" in wrong.text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{many}", "--model", "castelli"), "predicts e_above_hull, .* of prototypes; structures need a model that"),
        (("{many}", "--model", "{gap}"), "predicts band_gap of structures; structures need a model that"),
        (("nowhere.cif", "--model", "{model}", "--no-filter"), "nowhere.cif: no such file"),
        (("{many}", "--model", "{model}", "--filter", "charge"), "structures have no sites A, B and X, which filters"),
        (("{gap}", "--model", "{model}"), "gap.safetensors: unknown format"),
        (
            ("{many}", "--model", "{model}", "--sort", "tau"),
            "--sort tau: no such column. Choose one of e_above_hull,",
        ),
    ],
)
def test_what_cannot_be_screened_gives_one_clear_line(  # noqa: PLR0913, PLR0917  # fixtures
    screen, tmp_path, many, model_path, gap_path, arguments, message
):
    places = {"many": many, "gap": gap_path, "model": model_path}
    code, stdout, stderr = screen("structures", *(argument.format(**places) for argument in arguments))
    assert (code, stdout, stderr.count("\n")) == (1, "", 1)
    assert re.search(message, stderr), stderr
    assert not list(tmp_path.iterdir())


def test_perovskites_are_told_from_others_and_failures(tmp_path, model_path):
    path = tmp_path / "some.jsonl"
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    double = DOUBLE_PEROVSKITE.structure(np.array([55, 47, 83, 17]), 5.4)
    crystals = (perovskite("Sr"), salt, double, perovskite("Ca", shift=0.05))
    lines = [line(f"n{i}", crystal) for i, crystal in enumerate(crystals)]
    path.write_text("\n".join([*lines, json.dumps({"id": "broken", "cell": [1], "species": ["H"], "frac": []})]))
    plan = make_plan(make_recipe(kind="structures", paths=(path,), model=str(model_path)))
    rows = score_block(plan, load_model(plan), Block(0, 0, 5)).columns["perovskite"]
    labels = plan.candidates.labels({"perovskite": rows, "composition": np.zeros((5, 101), dtype=np.uint16)})
    kinds = ["single cubic a0a0a0", None, "rock-salt cubic a0a0a0", "single cubic a0a0a0", None]
    assert labels["perovskite"].to_pylist() == kinds


def test_without_a_named_model_it_is_that_of_crystals_of_any_kind(many):
    assert make_plan(make_recipe(kind="structures", paths=(many,))).model.name == "mp-structures"


def test_filters_and_sites_do_not_go_with_structures():
    with pytest.raises(UserError, match="structures have no sites A, B and X, which filters look at"):
        make_recipe(kind="structures", paths=("x.cif",), model="m", filters=("charge",))
    with pytest.raises(UserError, match="paths go with kind"):
        make_recipe(kind="perovskites", elements=("Ca",), paths=("x.cif",))
    with pytest.raises(UserError, match="structures take paths"):
        make_recipe(kind="structures", model="m")


def test_formulas_are_reduced_and_those_of_the_field():
    composition = np.zeros(101, dtype=np.uint16)
    composition[[56, 22, 8]] = 2, 2, 6
    assert formula(composition) == "BaTiO3"
    composition[[56, 22, 8]] = 0
    composition[[36, 9]] = 1, 2  # pymatgen warns that krypton has no electronegativity
    assert formula(composition) == "KrF2"


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"La": 4, "Ta": 4, "O": 4, "N": 8}, "LaTaON2"),
        ({"Cs": 1, "Pb": 1, "I": 1, "Br": 2}, "CsPbIBr2"),
        ({"Cs": 2, "Ag": 1, "Bi": 1, "Br": 6}, "Cs2AgBiBr6"),
        ({"Pb": 1, "Te": 1, "O": 3}, "TePbO3"),  # four fifths are of elements that may be anions: as pymatgen has it
    ],
)
def test_formulas_of_perovskites_have_their_anions_as_chemists_write_them(counts, text):
    composition = np.zeros(101, dtype=np.uint16)
    for symbol, count in counts.items():
        composition[SYMBOLS.index(symbol)] = count
    assert formula(composition, is_perovskite=True) == text


@pytest.mark.parametrize(
    ("counts", "is_perovskite", "expected"),
    [
        ({56: 1, 59: 1, 27: 2, 8: 6}, True, "BaPrCo2O6"),
        ({57: 1, 73: 1, 8: 1, 7: 2}, True, "LaTaON2"),
        ({20: 4, 22: 4, 8: 12}, True, "CaTiO3"),
        ({20: 3, 15: 2, 8: 8}, False, "Ca3(PO4)2"),
    ],
)
def test_formulas_keep_every_multiplier(counts, is_perovskite, expected):
    atoms = np.zeros(101, dtype=np.uint16)
    for z, count in counts.items():
        atoms[z] = count
    assert formula(atoms, is_perovskite=is_perovskite) == expected
