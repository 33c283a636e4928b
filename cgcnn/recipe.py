"""Training recipes: one TOML file says everything that a training needs besides the data."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cgcnn.card import InputKind, Settings, Target
from cgcnn.errors import UserError

_HERE = Path(__file__).parent
# Beside the package in a checkout, inside it once installed.
RECIPES = next((path for path in (_HERE / "recipes", _HERE.parent / "recipes") if path.is_dir()), _HERE / "recipes")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Section):
    """Shape of the networks; see `cgcnn.card.Settings`."""

    width: int = Field(64, ge=1)
    layers: int = Field(3, ge=1)
    hidden: int = Field(128, ge=1)
    hidden_layers: int = Field(1, ge=0)
    gaussians: int = Field(40, ge=2)
    radius: float = Field(8.0, gt=0)
    neighbours: int = Field(12, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class Fit(_Section):
    """How the members are trained.

    The rate rises over the first ``warm_up`` share of the steps to ``learning_rate`` and falls to zero on a cosine. The
    weights kept are a moving average with decay ``average`` a step.
    """

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warm_up: float = Field(0.1, ge=0, lt=1)
    average: float = Field(0.999, ge=0, lt=1)
    members: int = Field(3, ge=1)
    seed: int = 0


class RecipeTarget(Target):
    """A target and its share in the loss."""

    weight: float = Field(1.0, gt=0)


class TrainRecipe(_Section):
    """A whole training: what the model is, its targets, its networks, how they are fitted.

    Attributes:
        validation_fold: Rows whose ``fold`` is this are held out of a first ensemble, whose errors go on the card; the
            weights kept are then trained on every row. None: no such check.
    """

    name: str
    summary: str
    input: InputKind
    prototype: str | None = None
    label: str
    hull: str = "none"
    data: str
    split: str = "no rows held out"
    licence: str = "MIT"
    retrain: str
    weaknesses: tuple[str, ...] = ()
    validation_fold: int | None = None
    targets: tuple[RecipeTarget, ...] = Field(min_length=1)
    network: Network = Network()
    fit: Fit = Fit()

    @property
    def settings(self) -> Settings:
        """Shape of the networks."""
        return Settings(targets=tuple(target.name for target in self.targets), **self.network.model_dump())


def recipe_path(name_or_path: str | Path) -> Path:
    """The file of a recipe given by name or path.

    Raises:
        UserError: There is no such recipe.
    """
    named = RECIPES / f"{name_or_path}.toml"
    path = named if named.is_file() else Path(name_or_path)
    if not path.is_file():
        raise UserError(f"{name_or_path}: no such recipe; pass a TOML file or the name of one in recipes/")
    return path


def read_recipe(name_or_path: str | Path) -> TrainRecipe:
    """Read a training recipe.

    Raises:
        UserError: No such recipe, not TOML, or a key or value that no recipe has.
    """
    path = recipe_path(name_or_path)
    try:
        return TrainRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML ({error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {where}: {first['msg']}") from None
