"""A cascade finds the best that the ensemble alone finds, says what it set aside, and is the same when resumed."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cgcnn.errors import UserError
from cgcnn.network.template_kernel import instruction_sets
from cgcnn.training import distil
from screening.api import open_run, score
from screening.campaign import Distilled, run_campaign
from screening.cli.commands import app
from screening.engine import cascade as cascades
from screening.engine.block import Block
from screening.engine.cascade import Effort, NotWorthwhileError, make_cascade
from screening.engine.score import load_model, score_block
from screening.plan import from_header, make_plan, plan_of
from screening.recipe import make_recipe
from screening.status import Status
from screening.store import StoredRun, load_header

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="needs the compiled kernel")
ELEMENTS = {
    "a": ("Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "La", "Y", "Pb", "Bi", "Tl", "Ag", "Nd"),
    "b": ("Ti", "Zr", "Hf", "Nb", "Ta", "V", "Mn", "Fe", "Co", "Ni", "Al", "Ga", "Sn", "Ge", "W"),
    "x": ("O", "N", "F", "Cl", "S", "Br"),
}
SMALL = Effort(fitted=6000, tuned=2000, measured=2000, least=1000)


@pytest.fixture(scope="module", autouse=True)
def _little_effort():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cascades, "EFFORT", SMALL)
        patch.setattr(distil, "EPOCHS", 12)  # of few candidates
        patch.setattr(distil, "BATCH", 256)
        yield


def recipe_of(model_path, out=None, **further):
    settings = {"kind": "perovskites", "anions": 3, "filters": ("charge",), "workers": None} | ELEMENTS
    return make_recipe(model=str(model_path), out=out and str(out), **settings | further)


@pytest.fixture(scope="module")
def runs(model_path, tmp_path_factory):
    """The same screen with a cascade and without."""
    folder = tmp_path_factory.mktemp("cascade")
    for name, cascade in (("with.zarr", True), ("without.zarr", False)):
        run_campaign(recipe_of(model_path, folder / name, cascade=cascade))
    return folder / "with.zarr", folder / "without.zarr"


def columns_of(url):
    with StoredRun.open(str(url)) as run:
        return run.read([column.name for column in run.header.columns], 0, run.header.rows)


def test_candidates_are_predicted_as_without_it_or_set_aside(runs):
    ours, whole = map(columns_of, runs)
    aside, ok = ours["status"] == Status.SET_ASIDE, ours["status"] == Status.OK
    assert (whole["status"][aside | ok] == Status.OK).all()
    assert ok.sum() < 0.6 * (ok | aside).sum()
    for name in ours.keys() - {"status"}:
        assert ours[name][~aside].tobytes() == whole[name][~aside].tobytes(), name
    for name in ("e_above_hull", "e_above_hull_std", "p_stable", "a_angstrom"):
        assert np.isnan(ours[name][aside]).all()
    np.testing.assert_array_equal(ours["species"], whole["species"])


def test_rankings_begin_with_the_same_candidates(runs):
    ours, whole = (open_run(url).rank(top=20) for url in runs)
    assert ours.to_csv() == whole.to_csv()


def test_the_recall_is_what_a_count_over_the_whole_run_comes_to(runs):
    measured, (ours, whole) = open_run(runs[0]).cascade, map(columns_of, runs)
    good = np.flatnonzero(whole["status"] == Status.OK)
    order = good[np.lexsort((whole["e_above_hull"][good], ~whole["in_domain"][good]))]
    best = order[: round(measured.share * len(order))]
    kept = np.mean(ours["status"][best] == Status.OK)
    assert measured.sampled == SMALL.measured
    assert measured.kept <= measured.best == round(measured.share * SMALL.measured)
    assert abs(kept - measured.kept / measured.best) < 0.1
    assert kept > 0.9
    passed = np.mean(ours["status"][good] == Status.OK)
    assert abs(passed - measured.passed / measured.sampled) < 0.05


def test_the_ledger_adds_up_and_names_what_was_set_aside(runs):
    ledger = open_run(runs[0]).ledger
    assert sum(ledger.counts.values()) == ledger.size
    assert ledger.counts["set aside by the cascade"] > 0
    assert "set aside by the cascade" not in open_run(runs[1]).ledger.counts
    assert open_run(runs[0]).verify().ok
    assert open_run(runs[1]).cascade is None


def test_fitting_again_gives_the_same_bits(runs, model_path):
    again = make_cascade(make_plan(recipe_of(model_path)), "e_above_hull", 20)
    assert again.records.index.digest == load_header(str(runs[0])).records


def test_a_student_judges_candidates_alike_whatever_the_blocks(runs):
    with StoredRun.open(str(runs[0])) as run:
        plan = from_header(run.header, run.records)
    whole, part = columns_of(runs[0]), slice(512, 2048)
    rows = score_block(plan, load_model(plan), Block(0, part.start, part.stop)).columns
    for name, values in rows.items():
        assert values.tobytes() == whole[name][part].tobytes(), name


def test_a_resumed_run_keeps_its_student_and_its_bits(runs, model_path, tmp_path, monkeypatch):
    url, whole = tmp_path / "R.zarr", columns_of(runs[0])
    shutil.copytree(runs[0], url)
    (part,) = url.glob("status/manifest/part-*.jsonl")
    lines = part.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[: len(lines) // 2]))
    monkeypatch.setattr(cascades, "make_cascade", None)  # nothing is fitted again
    assert run_campaign(recipe_of(model_path, url, cascade=True), resume=True).complete
    for name, values in columns_of(url).items():
        assert values.tobytes() == whole[name].tobytes(), name


def test_a_lost_student_is_fitted_again_the_same(runs, model_path, tmp_path):
    url = tmp_path / "R.zarr"
    shutil.copytree(runs[0], url)
    (chunk,) = url.glob("status/manifest/records/*.gz")
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-9])
    assert not open_run(url).verify().ok
    run_campaign(recipe_of(model_path, url, cascade=True), resume=True)
    assert chunk.read_bytes() == content
    assert open_run(url).verify().ok


def test_a_run_is_not_resumed_with_another_cascade_or_none(runs, model_path):
    for further in ({"cascade": False}, {"cascade": True, "sort": "p_stable"}):
        with pytest.raises(UserError, match=r"cannot resume.*cascade"):
            run_campaign(recipe_of(model_path, runs[0], **further), resume=True)
    with pytest.raises(UserError, match=r"cannot resume.*cascade"):
        run_campaign(recipe_of(model_path, runs[1], cascade=True), resume=True)


def test_what_is_there_already_is_refused_before_a_student_is_fitted(runs, model_path, monkeypatch):
    monkeypatch.setattr(cascades, "make_cascade", None)
    with pytest.raises(UserError, match="exists and holds a run"):
        run_campaign(recipe_of(model_path, runs[0], cascade=True))


def test_another_share_takes_the_student_that_is_there(runs, model_path, tmp_path):
    url, whole = tmp_path / "R.zarr", columns_of(runs[0])
    for share in ("1/2", "2/2"):
        made = run_campaign(recipe_of(model_path, url, cascade=True, share=share, workers=1))
    assert made.complete
    assert columns_of(url)["status"].tobytes() == whole["status"].tobytes()


def test_a_cascade_by_p_stable_is_after_the_best_by_it(model_path):
    plan = make_plan(recipe_of(model_path))
    measured = make_cascade(plan, "p_stable:desc,e_above_hull", 20).measured
    assert measured.by == "p_stable"
    assert measured.kept / measured.best > 0.9
    assert measured.passed < 0.6 * measured.sampled


def test_filters_of_predictions_count_before_the_best_are_chosen(model_path, runs):
    plain = open_run(runs[0]).cascade
    some = columns_of(runs[1])
    low = np.quantile(some["e_above_hull"][some["status"] == Status.OK], 0.3)
    plan = make_plan(recipe_of(model_path, filters=("charge", f"hull={low:.3f}")))
    assert make_cascade(plan, "e_above_hull", 20).measured.cut < plain.cut


def test_small_spaces_are_screened_without(model_path, tmp_path, monkeypatch):
    monkeypatch.setattr(cascades, "EFFORT", Effort())
    told = []
    run_campaign(recipe_of(model_path, tmp_path / "R.zarr", cascade=True), progress=told.append)
    (distilled,) = [event for event in told if isinstance(event, Distilled)]
    assert distilled.measured is None
    assert "candidates that pass the filters" in distilled.reason
    assert Status.SET_ASIDE not in columns_of(tmp_path / "R.zarr")["status"]


def test_a_student_that_would_pass_on_most_is_not_used(model_path, monkeypatch):
    monkeypatch.setattr(cascades, "MARGIN", 1e3)
    monkeypatch.setattr(distil, "EPOCHS", 1)
    with pytest.raises(NotWorthwhileError, match="100%"):
        make_cascade(make_plan(recipe_of(model_path)), "e_above_hull", 20)


def test_candidates_that_no_student_can_judge_go_to_the_ensemble(runs):
    cascade = plan_of(str(runs[0])).cascade
    ideal = plan_of(str(runs[0])).candidates.ideal
    species = np.array([[56, 22, 8, 8, 8]] * 2, dtype=np.uint8)
    assert cascade.passes(ideal, species, np.array([np.nan, np.inf], dtype=np.float32), np.zeros(2, bool)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"sort": "tau"}, "a cascade is after the best by"), ({"sort": "e_above_hull:desc"}, "is after the best by")],
)
def test_columns_that_it_cannot_be_after_are_refused(model_path, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run_campaign(recipe_of(model_path, tmp_path / "R.zarr", cascade=True, **settings))
    assert not (tmp_path / "R.zarr").exists()


def test_lists_structures_and_scores_have_none(model_path, tmp_path):
    for settings in ({"kind": "list", "file": tmp_path / "x.csv"}, {"kind": "structures", "paths": (tmp_path,)}):
        with pytest.raises(UserError, match="a cascade is for spaces"):
            make_recipe(cascade=True, **settings)
    with pytest.raises(UserError, match="which `score` makes none of"):
        score(cascade=True, model=str(model_path), **ELEMENTS)


def test_a_column_that_the_model_does_not_predict_cannot_be_learned(model_path):
    with pytest.raises(UserError, match="does not predict it"):
        make_cascade(make_plan(recipe_of(model_path)), "p_perovskite", 20)


def test_the_command_says_what_it_passed_on_and_what_a_ranking_lacks(runs, model_path, tmp_path):
    sites = [text for site, symbols in ELEMENTS.items() for text in (f"--{site}", ",".join(symbols))]
    command = ["perovskites", *sites, "--anions", "3", "--model", str(model_path), "--filter", "charge", "--cascade"]
    made = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "R.zarr")])
    assert made.exit_code == 0, made.output
    assert "cascade: fitting a student to untrained" in made.stderr
    assert "set aside by the cascade" in made.stderr
    assert "(recall " in made.stderr
    assert "warning: this ranking" not in made.stderr
    other = CliRunner().invoke(app, ["rank", str(runs[0]), "--sort", "tau"])
    assert "warning: this ranking by tau lacks" in other.stderr
    beyond = CliRunner().invoke(app, ["rank", str(runs[0]), "--top", "500"])
    assert "rows of the ranking are beyond" in beyond.stderr
    dry = CliRunner().invoke(app, [*command, "--dry-run"])
    assert "a dry run fits no student" in dry.stderr
