from pathlib import Path

import pytest

from cgcnn.errors import UserError
from cgcnn.models.card import read_card, shipped
from cgcnn.training.recipe import TrainRecipe, read_recipe


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipe_is_that_of_the_shipped_model(name: str) -> None:
    recipe, card = read_recipe(name), read_card(name)
    assert recipe.settings == card.settings
    assert recipe.fit.members == card.members
    assert (recipe.name, recipe.summary, recipe.retrain) == (card.name, card.summary, card.recipe)
    assert (recipe.label, recipe.hull, recipe.data, recipe.peers) == (card.label, card.hull, card.data, card.peers)
    assert recipe.weaknesses == card.weaknesses
    assert recipe.weaknesses
    if not recipe.validation_folds:  # drawn by shares; else the recipe tells
        assert all(share in card.split for share in recipe.shares.split("/"))
    else:
        assert recipe.split == card.split


@pytest.mark.parametrize(
    ("content", "message"), [("name = ", "not TOML"), ("colour = 1", "name: Field required"), ("name = 1", "name")]
)
def test_recipe_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_recipe(path)


def test_unknown_setting_is_named(tmp_path: Path) -> None:
    from cgcnn.files import find_recipe

    path = tmp_path / "recipe.toml"
    path.write_text(find_recipe("castelli").read_text() + "\ncolour = 'blue'\n")
    with pytest.raises(UserError, match="colour"):
        read_recipe(path)


def test_other_targets_keep_their_units() -> None:
    changed = read_recipe("castelli-linear").with_changes(("a", "energy"), epochs=3, seed=None)
    assert [(target.name, target.unit) for target in changed.targets] == [("a", "Å"), ("energy", "")]
    assert changed.fit.epochs == 3
    assert changed.fit.seed == read_recipe("castelli-linear").fit.seed


def test_prototype_input_needs_a_known_prototype(tmp_path: Path) -> None:
    from cgcnn.files import find_recipe

    path = tmp_path / "recipe.toml"
    path.write_text(find_recipe("castelli").read_text().replace('"cubic-perovskite"', '"spinel"'))
    with pytest.raises(UserError, match="spinel"):
        read_recipe(path)


def test_changes_are_checked_like_a_recipe() -> None:
    with pytest.raises(UserError, match="`epochs` 0: Input should be greater than or equal to 1"):
        read_recipe("castelli-linear").with_changes((), epochs=0)
    with pytest.raises(UserError, match=r"`target`: recipe castelli mixes .*; add e_above_hull"):
        read_recipe("castelli").with_changes(("my_energy",))
    assert read_recipe("castelli-linear").with_changes(("my_energy",), seed=5, epochs=None).fit.seed == 5


def test_structures_have_no_compositions_to_fill() -> None:
    recipe = read_recipe("mp-structures").model_dump()
    recipe["sources"][0]["fill"] = True
    with pytest.raises(ValueError, match="fill: only for prototype input"):
        TrainRecipe.model_validate(recipe)
