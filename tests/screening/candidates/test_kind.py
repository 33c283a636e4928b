"""What every kind of candidates must do: the engine, the store and the rankings rely on no more than this."""

import csv
import json

import numpy as np
import pytest

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.card import read_card
from cgcnn.models.files import save
from cgcnn.network.settings import Settings
from cgcnn.testing import untrained_for_structures
from screening.candidates.kind import read_columns
from screening.engine.block import Block
from screening.engine.score import SCORED_BY, load_model, score_block
from screening.plan import KINDS, from_header, make_plan
from screening.ranking.table import rank
from screening.recipe import make_recipe
from screening.report.survey import map_sites
from screening.status import Status

SETTINGS = Settings(targets=("e_above_hull",), width=8, layers=1, hidden=8, gaussians=12)
LIST = "id,A,B,B',X\nq1,Cs,Ag,Bi,Br\nq2,Cs,Xx,Bi,Br\nq3,K,Na,Al,F\n"
CASES = ("perovskites", "perovskites of mixed X", "double-perovskites", "list", "structures")


@pytest.fixture(scope="module")
def plans(tmp_path_factory, both_path):
    """A plan of each case."""
    folder = tmp_path_factory.mktemp("kinds")
    structures = save(untrained_for_structures(SETTINGS), folder / "structures")
    (folder / "list.csv").write_text(LIST)
    crystals = [(name, CUBIC_PEROVSKITE.structure([a, 22, 8, 8, 8], 4.0)) for name, a in (("s1", 56), ("s2", 38))]
    lines = [json.dumps({"id": name, "structure": crystal.as_dict()}) for name, crystal in crystals]
    (folder / "some.jsonl").write_text("\n".join([*lines, '{"id": "s3", "cif": "none"}']))
    sites = {"a": ("K", "Cs"), "b": ("Na", "Ag", "Bi"), "x": ("Cl", "Br"), "model": str(both_path)}
    recipes = (
        {"kind": "perovskites", **sites},
        {"kind": "perovskites", "anions": 2, **sites},
        {"kind": "double-perovskites", **sites},
        {"kind": "list", "file": folder / "list.csv", "model": str(both_path)},
        {"kind": "structures", "paths": (folder / "some.jsonl",), "model": str(structures)},
    )
    return {case: make_plan(make_recipe(**recipe)) for case, recipe in zip(CASES, recipes, strict=True)}


@pytest.fixture(params=CASES)
def plan(request, plans):
    return plans[request.param]


@pytest.fixture
def rows(plan):
    result = score_block(plan, load_model(plan), Block(0, 0, plan.candidates.count))
    assert set(result.failures) == set(np.flatnonzero(result.columns["status"] == Status.FAILED))
    return result.columns


def test_every_kind_can_be_restored_and_scored():
    assert KINDS.keys() == SCORED_BY.keys()


def test_a_header_says_all_that_makes_the_plan_again(plan):
    header = plan.header(plan.candidates.grain.batch)
    assert header.space["kind"] == plan.candidates.kind
    again = from_header(header, plan.candidates.records)
    assert again.header(header.block_rows).space == json.loads(json.dumps(dict(header.space)))
    identity, expected = (some.candidates.identity(0, plan.candidates.count) for some in (again, plan))
    for name, values in expected.items():
        np.testing.assert_array_equal(identity[name], values)


def test_rows_have_the_columns_that_the_header_promises(plan, rows):
    columns = {column.name: column for column in plan.header(512).columns}
    assert rows.keys() == columns.keys()
    for name, values in rows.items():
        assert values.shape == (plan.candidates.count, *columns[name].shape), name
        assert values.dtype == columns[name].dtype, name
    assert set(read_columns(plan.candidates)) <= set(columns)
    for name, values in plan.candidates.identity(0, plan.candidates.count).items():
        np.testing.assert_array_equal(rows[name], values)


def test_a_ranked_candidate_has_a_name_a_structure_and_a_cif(plan, rows):
    from pymatgen.io.cif import CifParser

    candidates = plan.candidates
    blocks = [(0, {name: rows[name] for name in read_columns(candidates)})]
    table = rank(lambda: blocks, plan)
    assert table.counts.ranked == np.count_nonzero(rows["status"] == Status.OK) > 0
    assert table.names[:3] == ["rank", "index", "formula"]
    assert table.names[3 : 3 + len(candidates.name_columns)] == list(candidates.name_columns)
    for row in table.rows(3):
        a = row.get("a_angstrom", float("nan"))
        crystal = candidates.structure(row["index"], a)
        (read,) = CifParser.from_str(candidates.cif(row["index"], a)).parse_structures(primitive=False)
        assert crystal.composition.reduced_formula == read.composition.reduced_formula
        for symbol in {site.specie.symbol for site in crystal}:
            assert symbol in row["formula"]
    if candidates.site_groups:
        np.testing.assert_array_equal(table.species, rows["species"][table.arrays("index")["index"]])


def test_a_model_that_is_not_for_them_is_refused_with_the_reason(plans, plan):
    own = read_card(plan.model.path)
    assert plan.candidates.unfit(own) == ""
    others = {read_card(other.model.path).input: other.model.path for other in plans.values()}
    other = read_card(others["structure" if own.input == "prototype" else "prototype"])
    assert "trained for structures" in plan.candidates.unfit(other) or "of prototypes" in plan.candidates.unfit(other)


def test_sites_of_a_map_are_columns_of_species(plan, rows):
    sites = map_sites(plan.candidates)
    assert len(sites) == (0 if plan.candidates.kind == "structures" else 2)
    for site, column in sites.items():
        assert plan.candidates.ideal.sites[column] == site
        assert rows["species"].shape[1] > column


def test_formulas_are_those_of_the_labels(plan, rows):
    scored = np.flatnonzero(rows["status"] == Status.OK)
    shown = {name: values[scored] for name, values in rows.items()} | {"index": scored}
    written = plan.candidates.formulas(shown[plan.candidates.shown_by[0]]).to_pylist()
    assert written == plan.candidates.labels(shown)["formula"].to_pylist()


def test_the_ranked_csv_has_the_texts_of_the_table(plan, rows, tmp_path):
    table = rank(lambda: [(0, rows)], plan)
    table.write_csv(tmp_path / "R.csv")
    with (tmp_path / "R.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == table.texts()
    best = rank(lambda: [(0, rows)], plan, top=2)
    assert best.texts() == table.texts(2)


def test_texts_that_a_spreadsheet_would_run_get_an_apostrophe(tmp_path, both_path):
    written = {"=1+1": "'=1+1", "+A1": "'+A1", "-A1": "'-A1", "@SUM": "'@SUM", "-1.5": "-1.5", "+2": "+2", "Q=1": "Q=1"}
    (tmp_path / "list.csv").write_text("id,A,B,B',X\n" + "".join(f"{name},K,Na,Al,F\n" for name in written))
    plan = make_plan(make_recipe(kind="list", file=tmp_path / "list.csv", model=str(both_path)))
    rows = score_block(plan, load_model(plan), Block(0, 0, plan.candidates.count)).columns
    rank(lambda: [(0, rows)], plan).write_csv(tmp_path / "R.csv")
    with (tmp_path / "R.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == list(written.values())
