from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from cgcnn.data.samples import Record, Sample, from_record
from cgcnn.elements import SYMBOLS, element_features
from cgcnn.errors import UserError
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE
from cgcnn.models.domain import fit_domain
from cgcnn.models.files import load, save
from cgcnn.models.model import Model
from cgcnn.network.reference import CGCNN
from cgcnn.network.settings import Settings
from cgcnn.training.data import TrainingTable, everything, prepare
from cgcnn.training.fit import EpochProgress, Examples, FitTask, claim, fit, masked_loss, schedule
from cgcnn.training.measure import figures_of_parts
from cgcnn.training.members import fit_members
from cgcnn.training.recipe import Fit, Network, RecipeTarget, TrainRecipe
from cgcnn.training.train import check, on_all

SETTINGS = Settings(targets=("e_above_hull", "a"), width=8, layers=2, hidden=8, gaussians=12, dropout=0.1)
HOW = Fit(epochs=6, batch_size=16, learning_rate=0.02, average=0.9, members=2)
TASK = FitTask(partial(CGCNN, SETTINGS, torch.from_numpy(element_features())), HOW, torch.tensor([1.0, 0.1]))
RECIPE = TrainRecipe(
    name="toy",
    summary="",
    input="prototype",
    prototypes=("cubic-perovskite",),
    label="made up",
    data="made up",
    retrain="-",
    validation_folds=(1,),
    targets=(RecipeTarget(name="e_above_hull", unit="eV/atom"), RecipeTarget(name="a", unit="Å", weight=0.1)),
    network=Network(width=8, layers=2, hidden=8, gaussians=12),
    fit=HOW,
)


def records() -> list[Record]:
    """A grid of perovskites whose energy and lattice are sums over the sites; every seventh label is missing."""
    rows = []
    for a in (38, 56, 57, 20):
        for b in (22, 40, 72, 41):
            for x in (7, 8, 9):
                i = len(rows)
                lattice = 3.5 + a / 200 + b / 200 - x / 100
                energy = None if i % 7 == 0 else a / 50 - b / 60 + (x - 8) ** 2 / 5
                rows.append(
                    {
                        "id": f"toy-{i}",
                        "fold": i % 4,
                        **dict(zip("AB", (SYMBOLS[a], SYMBOLS[b]), strict=True)),
                        "X": [SYMBOLS[x]] * 3,
                        "cell": [lattice] * 3 + [90.0] * 3,
                        "species": [SYMBOLS[z] for z in (a, b, x, x, x)],
                        "frac": list(CUBIC_PEROVSKITE.frac),
                        "e_above_hull": energy,
                    }
                )
    return rows


def samples() -> list[Sample]:
    return [from_record(record, i) for i, record in enumerate(records())]


@pytest.fixture(scope="module")
def table() -> TrainingTable:
    return prepare(samples(), RECIPE).table


@pytest.fixture(scope="module")
def examples(table: TrainingTable) -> Examples:
    assert table.species is not None
    batch = GraphBatch.of_prototype(CUBIC_PEROVSKITE, table.species, np.full(len(table.fold), 4.0))
    return Examples(batch, torch.from_numpy(table.targets))


def quiet(*_: object) -> None:
    """No report."""


@pytest.fixture(scope="module")
def trained(table: TrainingTable, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return on_all(table, RECIPE, tmp_path_factory.mktemp("trained"), quiet).best


def test_training_lowers_the_loss(examples: Examples) -> None:
    losses: list[float] = []
    fit(TASK, (examples, None), seed=0, report=lambda progress: losses.append(progress.loss))
    assert len(losses) == HOW.epochs
    assert losses[-1] < 0.85 * losses[0]


def test_interrupted_training_ends_in_the_same_bits(examples: Examples, tmp_path: Path) -> None:
    class Interruption(Exception):  # noqa: N818  # it is no error
        pass

    def interrupt(progress: EpochProgress) -> None:
        if progress.epoch == 3:
            raise Interruption

    whole = fit(TASK, (examples, None), seed=5).last
    with pytest.raises(Interruption):
        fit(TASK, (examples, None), 5, tmp_path / "fit.pt", interrupt)
    epochs: list[int] = []
    resumed = fit(TASK, (examples, None), 5, tmp_path / "fit.pt", lambda progress: epochs.append(progress.epoch)).last
    assert epochs == [4, 5, 6]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_seed_decides_the_weights(examples: Examples) -> None:
    first, again, other = (fit(TASK, (examples, None), seed).last.output.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_training_leaves_the_global_random_state_alone(examples: Examples) -> None:
    before = torch.get_rng_state()
    fit(TASK, (examples, None), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_labels_do_not_enter_the_loss(examples: Examples) -> None:
    network = fit(TASK, (examples, None), seed=0).last
    rows = torch.arange(14)
    known = rows[~examples.targets[rows, 0].isnan()]
    energy_only = replace(TASK, weights=torch.tensor([1.0, 0.0]))
    assert len(known) < len(rows)
    torch.testing.assert_close(
        masked_loss(network, examples, rows, energy_only), masked_loss(network, examples, known, energy_only)
    )


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_damaged_checkpoint_is_refused(examples: Examples, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fit.pt").write_bytes(content)
    with pytest.raises(UserError, match="not a checkpoint"):
        fit(TASK, (examples, None), 0, tmp_path / "fit.pt")


def test_divergence_is_reported(examples: Examples) -> None:
    hasty = replace(TASK, how=HOW.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(UserError, match="learning_rate"):
        fit(hasty, (examples, None), seed=0)


def test_rate_rises_and_falls() -> None:
    rates = [schedule(i / 100, 0.1) for i in range(101)]
    assert max(rates) == rates[10] == 1
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0)


def test_lattice_is_fitted_from_the_elements(table: TrainingTable) -> None:
    domain = fit_domain(table.by_prototype(RECIPE.prototypes), table.lattices)
    assert table.species is not None
    assert domain.reference_lattice(CUBIC_PEROVSKITE, table.species) == pytest.approx(table.lattice, abs=0.02)
    assert domain.trained.sum(axis=1).tolist() == [4, 4, 3]
    assert len(domain.known) == len(table.fold)


def test_model_carries_its_errors_and_its_domain(table: TrainingTable, trained: Model, tmp_path: Path) -> None:
    stable = [f"{metric} of at most 0.05 eV/atom" for metric in ("recall", "precision", "AUC")]
    assert [(metric.metric, metric.target) for metric in trained.card.metrics] == [
        *((metric, "e_above_hull") for metric in ("MAE", "MAE, one member", "RMSE", "R2", *stable)),
        *((metric, "a") for metric in ("MAE", "RMSE", "R2")),
    ]
    assert trained.card.training_size == len(table.fold)
    assert len(trained.members) == 2
    assert table.species is not None
    assert trained.on("cubic-perovskite").in_domain(table.species).all()
    labelled = ~np.isnan(table.targets[:, 0])
    assert trained.on("cubic-perovskite").known(table.species).tolist() == labelled.tolist()
    again = load(save(trained, tmp_path / "again")).on("cubic-perovskite")
    assert again.known_labels(table.species, "e_above_hull") == pytest.approx(table.targets[:, 0], nan_ok=True)
    assert np.isnan(again.known_labels(table.species, "a")).all()
    kept = [bytes(text).rstrip(b"\0").decode() for text in again.known_ids(table.species)]
    assert kept == [name if has else "" for name, has in zip(table.ids, labelled, strict=True)]


def test_check_never_sees_the_held_out_labels(table: TrainingTable, tmp_path: Path) -> None:
    spoiled = table.targets.copy()
    spoiled[table.fold == 1] += 100
    lattice = np.where(table.fold == 1, 9, table.lattice).astype(np.float32)
    other = replace(table, targets=spoiled, lattice=lattice)
    honest, shifted = (check(rows, RECIPE, tmp_path / name, quiet)[0] for rows, name in ((table, "a"), (other, "b")))
    np.testing.assert_array_equal(honest.predictions, shifted.predictions)
    (error, *_), (wrong, *_) = (figures_of_parts(unseen, "") for unseen in (honest, shifted))
    assert wrong.value - error.value == pytest.approx(100, abs=5)


def test_of_several_folds_each_row_is_predicted_by_an_ensemble_without_its_fold(
    table: TrainingTable, tmp_path: Path
) -> None:
    both, text = check(table, RECIPE.model_copy(update={"validation_folds": (1, 0)}), tmp_path / "a", quiet)
    assert text == "folds 1, 0, each by an ensemble fitted without it"
    assert both.table.ids == table.rows(np.isin(table.fold, (0, 1))).ids
    for fold in (0, 1):
        alone, _ = check(table, RECIPE.model_copy(update={"validation_folds": (fold,)}), tmp_path / "b", quiet)
        np.testing.assert_array_equal(both.predictions[:, both.table.fold == fold], alone.predictions)
        assert both.support is not None
        assert alone.support is not None
        np.testing.assert_array_equal(both.support[both.table.fold == fold], alone.support)


def test_the_spread_of_the_members_is_calibrated_on_held_out_rows(table: TrainingTable, trained: Model) -> None:
    plain = Model(trained.card.model_copy(update={"calibrations": ()}), trained.members, trained.domain)
    assert [calibration.target for calibration in trained.card.calibrations] == ["e_above_hull", "a"]
    assert table.species is not None
    mean, std = trained.on("cubic-perovskite").predict(table.species)["a"]
    same, spread = plain.on("cubic-perovskite").predict(table.species)["a"]
    how = trained.card.calibrations[1]  # of the first target, support may decide
    # Barium and its like have factors of their own; all three X are one element here.
    symbols = [[SYMBOLS[z] for z in row[:3]] for row in table.species]
    factor = [np.prod([how.factors[role].get(s, 1) for role, s in zip("ABX", row, strict=True)]) for row in symbols]
    np.testing.assert_array_equal(mean, same)
    np.testing.assert_allclose(std, np.sqrt((how.scale * spread) ** 2 + how.floor**2) * factor, rtol=1e-4)
    assert trained.digest != plain.digest


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("kind", "threads"), [("prototype", 1), ("structure", 2)])
def test_compositions_are_fitted_with_one_thread_and_crystals_with_all(kind: str, threads: int, tmp_path: Path) -> None:
    how = {"fit": HOW.model_copy(update={"epochs": 1}), "targets": RECIPE.targets[:1]}
    recipe = RECIPE.model_copy(update=how | ({} if kind == "prototype" else {"input": kind, "prototypes": ()}))
    table = prepare(samples(), recipe).table
    found: list[int] = []
    splits = [everything(len(table.ids))]
    fit_members(table, recipe, splits, tmp_path, lambda *_: found.append(torch.get_num_threads()))
    assert found == [threads]
    assert torch.get_num_threads() == 2


def test_empty_validation_fold_is_refused(table: TrainingTable, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fold 9 holds 0"):
        on_all(table, RECIPE.model_copy(update={"validation_folds": (9,)}), tmp_path, quiet)


def test_checkpoints_of_another_training_are_refused(table: TrainingTable, tmp_path: Path) -> None:
    claim(tmp_path, table, RECIPE, resume=False)
    claim(tmp_path, table, RECIPE.model_copy(update={"summary": "better words"}), resume=True)
    with pytest.raises(UserError, match="`resume`"):
        claim(tmp_path, table, RECIPE, resume=False)
    with pytest.raises(UserError, match="another recipe"):
        claim(tmp_path, table, RECIPE.model_copy(update={"validation_folds": (2,)}), resume=True)
    with pytest.raises(UserError, match="other data"):
        claim(tmp_path, table.rows(table.fold > 0), RECIPE, resume=True)


def test_structures_train_too(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"input": "structure", "prototypes": (), "targets": RECIPE.targets[:1]})
    table = prepare(samples(), recipe).table
    model = on_all(table, recipe, tmp_path, quiet).best
    assert model.card.input == "structure"
    assert {"Ba", "Ti", "O"} <= set(model.card.elements) < set(SYMBOLS)
    assert table.graphs is not None
    assert (model.structural_distance(table.graphs) <= 1).mean() > 0.9
    with pytest.raises(UserError, match="trained for structures, not cubic-perovskite"):
        model.on("cubic-perovskite").predict(np.array([[56, 22, 8, 8, 8]], dtype=np.uint8))
