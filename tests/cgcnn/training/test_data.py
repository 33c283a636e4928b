"""Rows are read from one file or several, and split into parts."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from cgcnn.cli.commands import app
from cgcnn.data.composition import composition_keys
from cgcnn.data.samples import Record
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import CUBIC_PEROVSKITE, DOUBLE_PEROVSKITE
from cgcnn.models.card import read_card
from cgcnn.models.files import load
from cgcnn.training.data import Division, Split, by_column, by_share, by_size, folds, prepare, read_sources
from cgcnn.training.members import domain_of
from cgcnn.training.recipe import TrainRecipe, plain_recipe, read_recipe
from cgcnn.training.train import train

properties = settings(max_examples=40, deadline=None, derandomize=True)
usable_rows = st.lists(st.booleans(), min_size=5, max_size=60).filter(lambda rows: sum(rows) >= 5)


def sizes(split: Split) -> list[int]:
    return [len(split.rows(name)) for name in ("train", "validation", "test")]


@properties
@given(usable_rows, st.integers(0, 5))
def test_shares_cover_the_usable_rows_and_no_other(rows: list[bool], seed: int) -> None:
    usable = np.array(rows)
    split = by_share(usable, [60, 20, 20], seed)
    assert ((split.part >= 0) == usable).all()
    assert sizes(split) == pytest.approx(np.array([0.6, 0.2, 0.2]) * usable.sum(), abs=1)
    assert (split.part == by_share(usable, [0.6, 0.2, 0.2], seed).part).all()


def test_the_seed_decides() -> None:
    usable = np.ones(100, dtype=bool)
    assert (by_share(usable, [3, 1, 1], 0).part != by_share(usable, [3, 1, 1], 1).part).any()


@properties
@given(usable_rows, st.integers(3, 5))
def test_every_row_is_in_the_test_part_of_one_fold(rows: list[bool], k: int) -> None:
    usable = np.array(rows)
    parts = np.array([split.part for split in folds(usable, k, 0)])
    for part in range(3):
        expected = {0: k - 2, 1: 1, 2: 1}[part]
        assert ((parts == part).sum(axis=0)[usable] == expected).all()
    assert (parts[:, ~usable] == -1).all()


@pytest.mark.parametrize("text", ["²/1/1", "inf/1/1", "nan/1/1", "1.5/1/1", "-1/1/1", f"{'9' * 5000}/1/1", ""])
def test_sizes_that_are_no_whole_numbers_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="give three whole numbers"):
        Division(sizes=text).splits(np.ones(10, dtype=np.bool_), [{}] * 10, plain_recipe("m", "d", ["e"], []))
    if text in {"inf/1/1", "nan/1/1"}:
        with pytest.raises(UserError, match="give three numbers"):
            Division(split=text).splits(np.ones(10, dtype=np.bool_), [{}] * 10, plain_recipe("m", "d", ["e"], []))


def test_sizes_leave_the_others_out() -> None:
    usable = np.arange(20) != 3
    split = by_size(usable, [5, 2, 4], seed=1)
    assert sizes(split) == [5, 2, 4]
    assert split.part[3] == -1


def test_column_of_parts() -> None:
    values = ["train", "Test", None, "val", "", "train"]
    split = by_column(np.array([True] * 5 + [False]), "part", values, None)
    assert split.part.tolist() == [0, 2, -1, 1, -1, -1]


@pytest.mark.parametrize(("test", "part"), [("0", [2, 1, 0, 0, -1]), ("10", [1, 0, 0, 2, -1]), ("2", [0, 0, 2, 1, -1])])
def test_column_of_folds(test: str, part: list[int]) -> None:
    split = by_column(np.ones(5, dtype=bool), "fold", [0, 1, 2, 10, None], test)
    assert split.part.tolist() == part


def test_two_folds_leave_none_for_validation() -> None:
    assert by_column(np.ones(3, dtype=bool), "fold", ["a", "b", "a"], "b").part.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda rows: by_share(rows, [60, 20], 0), "60/20: give three"),
        (lambda rows: by_share(rows, [-1, 1, 1], 0), "give three"),
        (lambda rows: by_share(rows, [0, 1, 1], 0), "no training rows"),
        (lambda rows: by_size(rows, [8, 1, 2], 0), "at most 10"),
        (lambda rows: folds(rows, 11, 0), "11 folds of 10 rows"),
        (lambda rows: by_column(rows, "part", ["some"] * 10, None), "'some'"),
        (lambda rows: by_column(rows, "part", [None] * 10, None), "is empty"),
        (lambda rows: by_column(rows, "fold", [1, 2] * 5, "3"), "has the folds 1, 2"),
    ],
)
def test_impossible_splits_are_refused(split, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(np.ones(10, dtype=bool))


OXYGEN = (0.70229 - 0.687) * 3 / 5  # eV/atom that the older corrections of an oxide ABO3 are larger

RECIPE = """
name = "two"
summary = "Two files."
input = "prototype"
prototypes = ["cubic-perovskite", "double-perovskite"]
label = "made up"
data = "made up"
retrain = "-"
validation_folds = [0]
groups = 3

[[targets]]
name = "e_above_hull"
unit = "eV/atom"
[[targets]]
name = "a"
unit = "Å"
[[targets]]
name = "other_energy"
unit = "eV/atom"

[[sources]]
file = "one.jsonl"
labels = { e_above_hull = "e_above_hull", a = "a" }
only = { space_group = ["Pm-3m", "Fm-3m"] }
[[sources]]
file = "two.jsonl"
labels = { other_energy = "e_above_hull" }

[network]
width = 8
layers = 1
hidden = 8
gaussians = 12
[fit]
epochs = 2
members = 2
"""


def crystal(*symbols: str, a: float) -> Record:
    prototype = DOUBLE_PEROVSKITE if len(symbols) == 4 else CUBIC_PEROVSKITE
    numbers = np.array(
        [{"K": 19, "Ca": 20, "Sr": 38, "Ba": 56, "Ti": 22, "Zr": 40, "Hf": 72, "O": 8}[s] for s in symbols]
    )
    filled = numbers if len(symbols) == 4 else np.array([*numbers[:2], *[numbers[2]] * 3])
    found = prototype.structure(filled.astype(np.uint8), a)
    return {
        "cell": [*found.lattice.abc, *found.lattice.angles],
        "species": [site.specie.symbol for site in found],
        "frac": found.frac_coords.tolist(),
        "e_above_hull": a - 4,
        "formation_energy": -a,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    singles = [
        crystal(a, b, "O", a=3.9 + i / 50) for i, a in enumerate(["Ca", "Sr", "Ba", "K"]) for b in ("Ti", "Zr", "Hf")
    ]
    doubles = [crystal(a, "Ti", b, "O", a=4.0) for a in ("Ca", "Sr", "Ba") for b in ("Zr", "Hf")]
    one = [{**row, "space_group": "Pm-3m"} for row in singles[:8]] + [
        {**row, "space_group": "Fm-3m"} for row in doubles
    ]
    one.append({**singles[8], "space_group": "Pnma"})
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, one)))
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, singles)))
    (tmp_path / "two.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def recipe(folder: Path) -> TrainRecipe:
    return read_recipe(folder / "two.toml")


def test_labels_of_two_hulls_never_meet_in_one_target(folder: Path, recipe: TrainRecipe) -> None:
    table = prepare(read_sources(folder, recipe), recipe).table
    known = ~np.isnan(table.targets)
    assert known.sum(axis=0).tolist() == [14, 14, 12]  # the orthorhombic row is not wanted
    assert not (known[:, 0] & known[:, 2]).any()
    assert table.targets[0, 1] == pytest.approx(3.9, abs=1e-5)  # worked out from the crystal


def test_a_formula_is_on_one_side_of_the_check(folder: Path, recipe: TrainRecipe) -> None:
    table = prepare(read_sources(folder, recipe), recipe).table
    assert table.species is not None
    folds: dict[tuple[int, ...], set[int]] = {}
    for species, fold in zip(table.species.tolist(), table.fold.tolist(), strict=True):
        folds.setdefault(tuple(species), set()).add(fold)
    assert all(len(found) == 1 for found in folds.values())
    assert len(set(table.fold.tolist())) == 3


def test_training_from_a_directory_makes_one_model_of_both_prototypes(folder: Path) -> None:
    model = str(folder / "model")
    done = CliRunner(catch_exceptions=False).invoke(
        app, ["train", str(folder), "--recipe", str(folder / "two.toml"), "-o", model]
    )
    assert done.exit_code == 0, done.output
    splits = {metric.split for metric in read_card(model).metrics}
    assert {split.split()[0] for split in splits} == {"fold", "cubic-perovskite", "double-perovskite"}
    loaded = load(model)
    double = np.array([[56, 40, 22, 8]], dtype=np.uint8)
    assert loaded.on("double-perovskite").known(double)
    assert loaded.on("double-perovskite").in_domain(double)
    with pytest.raises(UserError, match="trained for cubic-perovskite, double-perovskite, not spinel"):
        loaded.on("spinel")


def test_a_file_instead_of_the_directory_is_refused(folder: Path, recipe: TrainRecipe) -> None:
    with pytest.raises(UserError, match=r"recipe two learns from one\.jsonl, two\.jsonl; pass the directory"):
        read_sources(folder / "one.jsonl", recipe)


def test_a_source_without_wanted_rows_is_refused(folder: Path, recipe: TrainRecipe) -> None:
    (folder / "one.jsonl").write_text(json.dumps(crystal("Ba", "Ti", "O", a=4.0)))
    with pytest.raises(UserError, match="no row is"):
        read_sources(folder, recipe)


def test_a_source_of_an_unknown_target_is_refused(folder: Path) -> None:
    path = folder / "two.toml"
    path.write_text(path.read_text().replace("other_energy = ", "another_energy = "))
    with pytest.raises(UserError, match="no targets: another_energy"):
        read_recipe(path)


def test_columns_that_a_file_lacks_and_several_files_of_polymorphs(tmp_path: Path) -> None:
    """The lowest crystal of all files counts, with its formation energy on the scale of 2020.

    A table of oxides needs no column X.
    """
    for name, energy, formation in (("one", 0.1, -3.0), ("more", 0.0, -2.0)):
        cubic = {"id": name, **crystal("Sr", "Ti", "O", a=3.9), "e_above_hull": energy, "formation_energy": formation}
        other = {"id": name, **crystal("Ba", "Ti", "O", a=4.0), "e_above_hull": 0.3 - energy, "formation_energy": -1.0}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(cubic) + "\n" + json.dumps(other | {"id": f"{name}-2"}))
    oxides = [{"A": "Ca", "B": "Ti", "e_above_hull": 0.3}, {"A": "Sr", "B": "Ti", "e_above_hull": 0.2}]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in oxides))
    source = 'file = ["one.jsonl", "more.jsonl"]\npolymorphs = true\nlegacy = ["one.jsonl"]'
    (tmp_path / "recipe.toml").write_text(
        RECIPE.replace('file = "one.jsonl"', source)
        .replace('a = "a"', 'a = "formation_energy"')
        .replace('only = { space_group = ["Pm-3m", "Fm-3m"] }', "")
        .replace('file = "two.jsonl"', 'file = "two.jsonl"\ncolumns = { X = "O" }')
        .replace("groups = 3", "groups = 3\nmerge = true")
    )
    recipe = read_recipe(tmp_path / "recipe.toml")
    table = prepare(read_sources(tmp_path, recipe), recipe).table
    nan = np.nan
    np.testing.assert_allclose(table.targets, [[0.0, -2.0, 0.2], [0.2, -1 + OXYGEN, nan], [nan, nan, 0.3]], rtol=1e-5)
    assert table.ids == ("more", "one-2", "0")
    assert table.bound is not None
    assert table.bound[:, 0].tolist() == [False, True, False]


@pytest.mark.parametrize("repeated", [0, 3])
def test_a_crystal_that_is_there_twice_is_not_trained_on(tmp_path: Path, repeated: int) -> None:
    for i in range(4):
        Structure(Lattice.cubic(3 + i / 10), ["Na"], [[0, 0, 0]]).to(filename=str(tmp_path / f"x{i}.cif"))
    (tmp_path / "id_prop.csv").write_text("".join(f"x{i},{i}\n" for i in (0, 1, 2, 3, repeated)))
    with pytest.raises(UserError, match=f"crystal x{repeated} is listed 2 times and could be in both training"):
        train(tmp_path, epochs=1)


@pytest.mark.parametrize("label", ["inf", "1e39", "-1e39"])
def test_a_label_that_ends_in_an_unreadable_model_is_refused(tmp_path: Path, label: str) -> None:
    for i in range(4):
        Structure(Lattice.cubic(3 + i / 10), ["Na"], [[0, 0, 0]]).to(filename=str(tmp_path / f"x{i}.cif"))
    (tmp_path / "id_prop.csv").write_text("".join(f"x{i},{label if i == 2 else i}\n" for i in range(4)))
    with pytest.raises(UserError, match=r"record x2: target is .*; labels are finite and at most 1e"):
        train(tmp_path, epochs=1)


def test_what_tilting_gains_and_phonons_that_only_fill_gaps(tmp_path: Path) -> None:
    """A table of relaxed starts tightens bounds; softest phonons say what is tilted where nothing else does."""
    crystals = [
        {"id": name, **crystal(name, "Ti", "O", a=3.9), "e_above_hull": energy}
        for name, energy in (("Ca", 0.1), ("Sr", 0.1), ("Ba", 0.0))
    ]
    (tmp_path / "one.jsonl").write_text("\n".join(map(json.dumps, crystals)))
    starts = "A,B,B',X,difference,became\nCa,Ti,,O,-0.07,single tilted a-b+a-\nSr,Ti,,O,-0.3,\n"
    (tmp_path / "starts.csv").write_text(starts)
    phonons = "formula,w_R,w_M\nBaTiO3,-3,-2\nSrTiO3,-1,2\nKTiO3,1,2\nKZrO3,,2\nKO,-1,-1\n"
    (tmp_path / "phonons.csv").write_text(phonons)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        RECIPE.replace('file = "one.jsonl"', 'file = "one.jsonl"\npolymorphs = true\ngains = "starts.csv"')
        .replace('a = "a"', 'other_energy = "tilted"')
        .replace('only = { space_group = ["Pm-3m", "Fm-3m"] }', "")
        .replace('[[targets]]\nname = "a"\nunit = "Å"\n', "")
        .replace('file = "two.jsonl"', 'file = "phonons.csv"\nformula = "ABX3"\nfill = true')
        .replace('other_energy = "e_above_hull"', 'other_energy = "soft_tilts"')
        .replace("groups = 3", "groups = 3\nmerge = true")
    )
    read = read_recipe(recipe)
    table = prepare(read_sources(tmp_path, read), read).table
    nan = np.nan
    expected = [[0.03, 1], [0.1, 1], [0.0, 0], [nan, 0], [nan, nan]]  # Ca, Sr, Ba, K Ti, K Zr
    np.testing.assert_allclose(table.targets, expected, rtol=1e-5)
    assert table.bound is not None
    assert table.bound[:, 0].tolist() == [False, True, False, False, False]
    domain, calcium = domain_of(table, read), composition_keys(np.array([[20, 22, 8, 8, 8]], dtype=np.uint8))
    assert domain.labels_of(calcium)[0] == pytest.approx(0.1)  # what was computed, not what was relaxed
    assert domain.bounds_of(calcium)[0]
