import pickle
from dataclasses import replace

import numpy as np
import pytest

from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.deviations import IMPOSSIBLE
from cgcnn.models.files import load, save
from cgcnn.testing import TINY, untrained
from screening.candidates.compositions import BATCH
from screening.chemistry.filters import parse_filter
from screening.engine.block import Block, stable_probability
from screening.engine.score import build_block, failed_block, infer_block, load_model, score_block
from screening.plan import make_plan
from screening.recipe import make_recipe
from screening.status import Status

TRAINED = {"A": ("Ca", "Sr", "Ba", "La"), "B": ("Ti", "Zr", "Hf", "Ta"), "X": ("O",)}
A = ("Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "La", "Y", "Pb", "Bi")
B = ("Ti", "Zr", "Hf", "Nb", "Ta", "V", "Mn", "Fe", "Co", "Ni", "Al", "Ga")


@pytest.fixture(scope="module")
def plan(model_path):
    settings = {"kind": "perovskites", "a": A, "b": B, "x": ("O", "N", "F"), "anions": 3, "filters": ("tolerance",)}
    return make_plan(make_recipe(model=str(model_path), **settings))


@pytest.fixture(scope="module")
def model(model_path):
    return load(model_path).on("cubic-perovskite")


@pytest.fixture(scope="module")
def whole(plan, model):
    return score_block(plan, model, Block(0, 0, plan.candidates.count))


def test_every_candidate_has_a_row_and_a_status(plan, whole):
    assert {len(values) for values in whole.columns.values()} == {plan.candidates.count}
    assert set(np.unique(whole.columns["status"])) == {Status.OK, Status.FILTERED}


def test_only_candidates_that_pass_have_predictions(whole):
    predicted = np.isfinite(whole.columns["e_above_hull"])
    np.testing.assert_array_equal(predicted, whole.columns["status"] == Status.OK)


def test_a_candidate_gets_the_same_bits_whatever_the_blocks(plan, model, whole):
    assert plan.candidates.count > BATCH
    part = score_block(plan, model, Block(1, BATCH, plan.candidates.count))
    for name, values in part.columns.items():
        assert values.tobytes() == whole.columns[name][BATCH:].tobytes(), name


def test_candidates_out_of_domain_are_predicted_and_flagged(model_path, model):
    recipe = make_recipe(kind="perovskites", a=("Ca", "Cs"), b=("Ti",), x=("O",), model=str(model_path))
    rows = score_block(make_plan(recipe), model, Block(0, 0, 2)).columns
    assert rows["in_domain"].tolist() == [True, False]
    assert rows["domain_distance"][0] == 0 < rows["domain_distance"][1]
    assert np.isfinite(rows["e_above_hull"]).all()


def test_the_two_halves_give_the_whole_when_the_block_travels_between_them(plan, model, whole):
    packed = pickle.dumps(build_block(plan, model, Block(0, 0, plan.candidates.count)), protocol=5)
    halves = infer_block(plan, model, pickle.loads(packed))
    assert len(packed) < 64 * plan.candidates.count
    assert {name: values.tobytes() for name, values in halves.columns.items()} == {
        name: values.tobytes() for name, values in whole.columns.items()
    }


def test_blocks_of_double_perovskites_are_as_good_as_others(both_path):
    elements = {"a": ("K", "Cs"), "b": ("Na", "Ag", "Bi", "In", "Al", "W", "Ti"), "x": ("F", "Cl", "Br")}
    plan = make_plan(make_recipe(kind="double-perovskites", model=str(both_path), **elements))
    model = load_model(plan)
    rows = score_block(plan, model, Block(0, 0, plan.candidates.count)).columns
    assert rows["species"].shape == (2 * 21 * 3, 4)
    assert np.isfinite(rows["e_above_hull"]).all()
    assert rows["in_domain"].all()
    assert rows["charge_balanced"].any()
    broken = failed_block(plan, Block(0, 0, plan.candidates.count), "it broke").columns
    np.testing.assert_array_equal(broken["tau"], rows["tau"])


def test_predictions_that_are_not_finite_are_failures_with_a_reason(plan, model, monkeypatch):
    predict = type(model).predict_cells

    def broken(self, species, lattice):
        estimates = predict(self, species, lattice)
        estimates["e_above_hull"][0][0] = np.nan
        return estimates

    monkeypatch.setattr(type(model), "predict_cells", broken)
    result = score_block(plan, model, Block(0, 0, BATCH))
    failed = np.flatnonzero(result.columns["status"] == Status.FAILED)
    assert len(failed) == 1
    assert result.failures == {int(failed[0]): IMPOSSIBLE}


def test_a_failed_block_still_has_all_its_candidates(plan):
    result = failed_block(plan, Block(3, BATCH, BATCH + 5), "it broke")
    np.testing.assert_array_equal(result.columns["species"], plan.candidates.decode(BATCH, BATCH + 5))
    assert (result.columns["status"] == Status.FAILED).all()
    assert result.failures == dict.fromkeys(range(BATCH, BATCH + 5), "it broke")


def test_probability_of_stability_falls_with_the_energy():
    for threshold, certain in ((1e308, 1), (-1e308, 0)):
        assert stable_probability(np.zeros(2, np.float32), np.zeros(2, np.float32), threshold).tolist() == [certain] * 2
    probability = stable_probability(np.array([-1, 0.05, 0.06, 1], np.float32), np.full(4, 0.01, np.float32), 0.05)
    np.testing.assert_allclose(probability, [1, 0.5, 0.1587, 0], atol=1e-4)


RICH = ("e_above_hull", "a", "e_above_hull_cubic", "p_tilted", "band_gap", "wolverton_e_above_hull", "formation_energy")


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A model that predicts whatever may be a column, and energies that p_perovskite takes."""
    settings = replace(TINY, targets=RICH, binary=("p_tilted",), sites=4, site_dropout=0.1, activation="silu")
    return save(untrained(CUBIC_PEROVSKITE, TRAINED, settings), tmp_path_factory.mktemp("rich") / "rich")


def scored(path, *chosen):
    settings = {"kind": "perovskites", "a": A, "b": B, "x": ("O",), "filters": chosen}
    plan = make_plan(make_recipe(model=str(path), **settings))
    return score_block(plan, load_model(plan), Block(0, 0, plan.candidates.count)).columns


def test_columns_are_empty_where_the_model_has_none(rich, whole):
    rows, other = scored(rich), whole.columns
    predicted = load(rich).on("cubic-perovskite").predict(rows["species"])
    for name in ("e_above_hull_cubic", "p_tilted", "band_gap"):
        np.testing.assert_allclose(rows[name], predicted[name][0], atol=1e-6)
        assert np.isnan(other[name]).all()
    np.testing.assert_allclose(rows["band_gap_std"], predicted["band_gap"][1], atol=1e-6)
    assert np.isnan(rows["p_leaves"]).all()
    assert ((rows["p_perovskite"] > 0) & (rows["p_perovskite"] < 1)).any()
    assert np.isnan(other["p_perovskite"]).all()


def test_filters_of_predicted_columns_come_after_the_prediction(rich):
    rows, plain = scored(rich, "tolerance", "gap=-1:0", "hull=0"), scored(rich, "tolerance")
    likely = parse_filter("gap=-1:0").passes(plain)  # by the standard deviation
    expected = (plain["status"] == Status.OK) & likely
    gapless = np.flatnonzero(rows["status"] == Status.FILTERED + 1)
    assert len(gapless) > 0
    assert not expected[gapless].any()
    assert np.isfinite(rows["band_gap"][gapless]).all()  # what was predicted is kept
    np.testing.assert_array_equal(rows["status"] == Status.OK, expected & (plain["e_above_hull"] <= 0))
    assert (scored(rich, "perovskite=0.7")["status"] == Status.OK).any()


def test_energies_of_a_mixture_and_its_probability_are_columns(tmp_path):
    targets = ("e_above_hull", "e_if_stays", "e_if_leaves", "p_leaves", "a")
    mixture = ("e_above_hull", "e_if_leaves", "e_if_stays", "p_leaves")
    settings = replace(TINY, targets=targets, binary=("p_leaves",), mixture=mixture, sites=4)
    path = save(untrained(CUBIC_PEROVSKITE, TRAINED, settings, members=1), tmp_path / "mixed")
    rows, few = scored(path), scored(path, "leaves=0.5")
    apart = rows["e_if_leaves"] - rows["e_if_stays"]
    np.testing.assert_allclose(rows["e_above_hull"], rows["e_if_stays"] + rows["p_leaves"] * apart, atol=1e-5)
    assert np.abs(apart).min() > 1e-4
    stay = rows["p_leaves"] <= np.median(rows["p_leaves"])
    assert 0 < stay.sum() < len(stay)
    limit = float(np.median(rows["p_leaves"]))
    np.testing.assert_array_equal(scored(path, f"leaves={limit}")["status"] == Status.OK, stay)
    np.testing.assert_array_equal(few["status"] == Status.OK, rows["p_leaves"] <= 0.5)


def test_rejected_candidates_keep_species_and_status_alone():
    sites = {"a": ("Ca", "Sr", "La"), "b": ("Ti", "Zr", "Ta"), "x": ("O", "N")}
    plan = make_plan(make_recipe(kind="perovskites", filters=("charge",), **sites))
    model, block = load_model(plan), Block(0, 0, plan.candidates.count)
    rows, whole = (score_block(some, model, block).columns for some in (plan, replace(plan, filters=())))
    rejected = rows["status"] == Status.FILTERED
    assert 0 < rejected.sum() < block.stop
    for column in plan.candidates.columns(plan.stable_at):
        if column.name not in {"species", "status"}:
            fill = np.full_like(rows[column.name][rejected], column.fill)
            np.testing.assert_array_equal(rows[column.name][rejected], fill, err_msg=column.name)
        if column.name != "status":
            np.testing.assert_array_equal(rows[column.name][~rejected], whole[column.name][~rejected])
    np.testing.assert_array_equal(rows["species"], whole["species"])
