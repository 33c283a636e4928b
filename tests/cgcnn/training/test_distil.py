"""Teachers label compositions for members, and may know sets of elements by vectors of their own."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cgcnn.data.composition import composition_keys
from cgcnn.data.samples import from_record
from cgcnn.elements import element_features
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.domain import Domain
from cgcnn.network.reference import CGCNN, TensorBatch
from cgcnn.network.settings import Settings
from cgcnn.training.data import TrainingTable, everything, prepare
from cgcnn.training.distil import expected, grid_network, rest_of_grid, set_names, shared_sets
from cgcnn.training.measure import outputs
from cgcnn.training.members import fit_members
from cgcnn.training.recipe import TrainRecipe
from cgcnn.training.train import train_table

if TYPE_CHECKING:
    from pathlib import Path


SETTINGS = Settings(targets=("e",), width=4, layers=0, hidden=8, gaussians=4, radius=6.0, sites=4)
FEATURES = torch.from_numpy(element_features())
ROWS = [[38, 22, 8, 8, 8], [38, 22, 7, 8, 8], [38, 22, 8, 7, 8], [38, 22, 7, 7, 8], [56, 22, 7, 8, 8]]


def batch(rows: list[list[int]] = ROWS) -> TensorBatch:
    species = PROTOTYPES["cubic-perovskite"].canonical(np.array(rows, dtype=np.uint8))
    prototype = PROTOTYPES["cubic-perovskite"]
    return TensorBatch.of(GraphBatch.of_prototype(prototype, species, np.full(len(rows), 4.0, dtype=np.float32), 12))


def test_a_set_has_one_name_whatever_the_order_and_the_other_sites() -> None:
    names = set_names(batch())[:, 2]
    assert names[1] == names[2] == names[4]
    assert len(names.unique()) == 3
    assert len(shared_sets(batch())) == 3  # of X alone: A and B have one atom each


def test_a_known_set_has_a_vector_of_its_own_and_others_have_their_mean() -> None:
    known = shared_sets(batch(ROWS[:3]))  # O3 and O2N
    torch.manual_seed(0)
    made = grid_network(SETTINGS, FEATURES, known).eval()
    torch.manual_seed(0)
    plain = CGCNN(SETTINGS, FEATURES)
    plain.load_state_dict(made.state_dict(), strict=False)
    with torch.inference_mode():
        assert torch.equal(made(batch()), plain.eval()(batch()))  # zero at first
        made.sites.of_set[torch.searchsorted(known, set_names(batch())[1, 2])] += 1.0
        moved = (made(batch()) != plain(batch()))[:, 0]
    assert moved.tolist() == [False, True, True, False, True]


def test_sets_without_a_readout_of_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="only with a readout of sites"):
        grid_network(Settings(targets=("e",)), FEATURES, shared_sets(batch()))


TARGETS = ("e_above_hull", "e_if_stays", "e_if_leaves", "p_leaves")
MIXTURE = ("e_above_hull", "e_if_leaves", "e_if_stays", "p_leaves")
TEACHERS = ({"network": {"layers": 0}, "fit": {"seed": 7, "epochs": 3, "members": 1}}, {"network": {"hidden": 6}})


def recipe(epochs: int = 2, **changes: Any) -> TrainRecipe:
    targets = [{"name": n, "unit": "", "kind": "binary" if n == "p_leaves" else "number"} for n in TARGETS]
    about = dict.fromkeys(("name", "summary", "label", "data", "retrain"), "toy")
    network = {"width": 8, "layers": 1, "hidden": 8, "gaussians": 8, "radius": 6.0, "sites": 4, "mixture": MIXTURE}
    fit = {"epochs": epochs, "members": 2, "batch_size": 4, "learning_rate": 0.02, "average": 0.5}
    given = {**about, "input": "prototype", "prototypes": ["cubic-perovskite"], "targets": targets, "network": network}
    return TrainRecipe.model_validate({**given, "fit": fit, **changes})


def grid(without: int = 0) -> TrainingTable:
    """Two elements on A, two on B, O3 or O2N on X, less the last rows."""
    rows = list(product(("Ca", "Ba"), ("Ti", "Zr"), (["O"] * 3, ["O", "N", "O"])))
    records = [
        {
            "id": str(i),
            "A": a,
            "B": b,
            "X": x,
            "a": 4.0,
            "fold": int(i in {3, 5, 6}),
            "p_leaves": i % 2,
            "e_above_hull": 0.1 * i,
        }
        | {"e_if_stays": None if i % 2 else 0.1 * i, "e_if_leaves": 0.1 * i if i % 2 else None}
        for i, (a, b, x) in enumerate(rows)
    ]
    samples = [from_record(record, i) for i, record in enumerate(records)]
    return prepare(samples, recipe()).table.rows(np.arange(len(rows)) < len(rows) - without)


def test_the_rest_of_the_grid_is_what_rows_span_and_are_not() -> None:
    table = grid()
    some = np.array([True, False, False, True, False, True, True, False])
    rest = rest_of_grid(table.rows(some), ("cubic-perovskite",))
    assert np.isnan(rest.targets).all()
    assert rest.species is not None
    assert table.species is not None
    assert sorted(composition_keys(rest.species)) == sorted(composition_keys(table.species[~some]))
    whole = rest_of_grid(table, ("cubic-perovskite",))
    assert (len(whole.ids), whole.targets.shape) == (0, (0, 4))


def test_what_teachers_expect_is_their_mean_with_the_odds_squared() -> None:
    settings = Settings(targets=(*TARGETS, "a"), binary=("p_leaves",), mixture=MIXTURE)
    said = np.array([[[9.0, 1.0, 2.0, 0.7, 4.0]], [[9.0, 3.0, 4.0, 0.9, 4.1]]], dtype=np.float32)
    found = expected(said, settings)
    sure = 0.8**2 / (0.8**2 + 0.2**2)
    np.testing.assert_allclose(found, [[2 + sure, 2, 3, 0.8, np.nan]], rtol=1e-6)
    with pytest.raises(ValueError, match="mixture"):
        expected(said, Settings(targets=("e_above_hull", "a")))


def test_lessons_are_learnt_but_are_not_training_rows(tmp_path: Path) -> None:
    table, plan = grid(without=2), recipe(epochs=60)
    lessons = rest_of_grid(table, plan.prototypes)
    lessons.targets[:] = [[4.0, 4.0, 4.0, 0.5]]
    splits = [everything(len(table.ids))] * 2
    by_itself = fit_members(table, plan, splits, tmp_path / "plain", lambda *_: None).best
    taught = fit_members(table, plan, splits, tmp_path / "taught", lambda *_: None, lessons=lessons).best
    off = [np.abs(outputs(model, lessons).mean(axis=0)[:, 0] - 4).max() for model in (by_itself, taught)]
    assert off[1] < 0.5 < off[0]
    assert taught.card.training_size == by_itself.card.training_size == 6
    for model in (by_itself, taught):
        assert isinstance(model.domain, Domain)
        assert len(model.domain.known) == len(model.domain.labels) == 6


def test_teachers_are_trained_first_on_the_same_rows(tmp_path: Path) -> None:
    plan, stages = recipe(1, teachers=TEACHERS, validation_folds=(1,)), []
    rows = grid(without=1)
    trained = train_table(rows, plan, (), tmp_path / "with", lambda stage, member, _: stages.append((stage, member)))
    assert list(dict.fromkeys(stages)) == [
        (name, member)
        for stage in ("check", "all rows")
        for name, members in ((f"{stage}, teachers 1", 1), (f"{stage}, teachers 2", 2), (stage, 2))
        for member in range(members)
    ]
    again = train_table(rows, plan, (), tmp_path / "again", lambda *_: None)
    alone = train_table(rows, recipe(1, validation_folds=(1,)), (), tmp_path / "without", lambda *_: None)
    assert len(trained.best.members) == 2
    assert trained.best.digest == again.best.digest != alone.best.digest
    assert {m.value for m in trained.metrics} != {m.value for m in alone.metrics}


def test_teachers_may_know_sets_of_elements_by_vectors_of_their_own(tmp_path: Path) -> None:
    by_mean, by_set = (
        train_table(
            grid(without=2),
            recipe(teachers=[TEACHERS[0] | {"sets": own}]),
            (),
            tmp_path / f"{own}",
            lambda *_: None,
        ).best
        for own in (False, True)
    )
    assert by_mean.digest != by_set.digest
    assert set(by_mean.members[0]) == set(by_set.members[0])  # members have no such vectors


def test_a_whole_grid_has_no_teachers(tmp_path: Path) -> None:
    stages = set()
    found = train_table(grid(), recipe(teachers=TEACHERS), (), tmp_path / "a", lambda stage, *_: stages.add(stage))
    assert stages == {"all rows"}
    assert found.best.digest == train_table(grid(), recipe(), (), tmp_path / "b", lambda *_: None).best.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": [{"fit": {"colour": 1}}]}, "colour"),
        ({"teachers": [{"network": {"layers": -1}}]}, "layers"),
        ({"teachers": [{"network": {"sites": 0}, "sets": True}]}, "sets: only with a readout of sites"),
        ({"teachers": TEACHERS, "network": {"width": 8}}, "teachers: only for prototype input with a mixture"),
    ],
)
def test_teachers_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**changes)
