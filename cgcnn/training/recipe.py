"""Training recipes: a TOML file holds everything that a training needs besides the data."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cgcnn.errors import UserError
from cgcnn.files import find_recipe, read_text
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import InputKind, Target
from cgcnn.network.settings import Activation, ConvolutionKind, GraphKind, Pooling, Settings

if TYPE_CHECKING:
    from pathlib import Path


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Section):
    """The shape of the networks; see `cgcnn.network.settings.Settings`."""

    width: int = Field(default=64, ge=1)
    layers: int = Field(default=3, ge=0)
    hidden: int = Field(default=128, ge=1)
    hidden_layers: int = Field(default=1, ge=0)
    gaussians: int = Field(default=40, ge=2)
    radius: float = Field(default=8.0, gt=0)
    neighbours: int = Field(default=12, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    graphs: GraphKind = "shells"
    convolution: ConvolutionKind = "gated"
    pooling: Pooling = "mean"
    activation: Activation = "softplus"
    sites: int = Field(default=0, ge=0)
    site_spread: bool = False
    site_dropout: float = Field(default=0.0, ge=0, lt=1)
    mixture: tuple[str, ...] = ()


class Fit(_Section):
    """The settings of a fit.

    The rate rises over the first ``warm_up`` share of the steps to ``learning_rate`` and falls to zero on a cosine. The
    weights kept are a moving average with decay ``average`` per step, or less in a short training. With ``patience``, a
    member stops after that many epochs without a lower loss on the validation part of a split.
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    average: float = Field(default=0.999, ge=0, lt=1)
    members: int = Field(default=3, ge=1)
    seed: int = 0
    patience: int | None = Field(default=None, ge=1)


class DataSource(_Section):
    """A source of training data: one file or several with the same labels.

    Attributes:
        file: Name in the directory of the data, or several names.
        labels: Target → label in the file; the rows have no other targets.
        only: Label → values of the rows to use; empty for all rows.
        polymorphs: The rows are crystals; only the lowest perovskite of each composition in all files becomes a row,
            see `cgcnn.training.curation`.
        legacy: Files whose formation energies have the Materials Project's corrections before 2020; they are put on the
            scale of 2020, see `cgcnn.training.curation.on_mp2020`.
        gains: Table of relaxed starts, which holds how much lower than the cubic crystal other polymorphs are, see
            `cgcnn.training.curation.gains`.
        agree: Two energies that should come from one calculation; crystals where they do not are left out, see
            `cgcnn.training.curation.agreeing`.
        columns: Columns that the rows lack, such as X = "O" for a table of oxides.
        formula: The rows have a formula such as KMgF3 instead of site columns, with elements in the order A, B, X. Rows
            with other formulas are left out.
        fill: The labels count only for compositions without that target in any other source; prototype input only.
    """

    file: str | tuple[str, ...]
    labels: dict[str, str] = Field(min_length=1)
    only: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    polymorphs: bool = False
    legacy: tuple[str, ...] = ()
    gains: str | None = None
    agree: tuple[str, str] | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    formula: Literal["ABX3"] | None = None
    fill: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files."""
        return (self.file,) if isinstance(self.file, str) else self.file


Share = Annotated[float, Field(ge=0, le=1)]


class RecipeTarget(Target):
    """A target, its weight in the loss, and whether it is a number or yes (1) or no (0).

    If the label ``NAME_is_bound`` of a row is 1, its value is an upper bound: a prediction below it costs the share
    ``below`` of one above it. ``below`` is one number, or one for each prototype by name.
    """

    weight: float = Field(default=1.0, gt=0)
    kind: Literal["number", "binary"] = "number"
    below: Share | dict[str, Share] = 1.0

    def below_on(self, prototype: str) -> float:
        """Return `below` for rows of a prototype; 1 if there is none."""
        return self.below.get(prototype, 1.0) if isinstance(self.below, dict) else self.below


class Teacher(_Section):
    """Networks that label compositions without labels for the members; see `cgcnn.training.distil`.

    Attributes:
        network: Settings in which their shape differs from that of the members; without layers they have no graph.
        fit: Settings in which their fit differs from that of the members.
        sets: Give each set of elements on one role, such as O2N, a vector of its own in the readout of sites.
    """

    network: dict[str, Any] = Field(default_factory=dict)
    fit: dict[str, Any] = Field(default_factory=dict)
    sets: bool = False


class TrainRecipe(_Section):
    """A training recipe: the model's description, its targets, its networks and their fit.

    Attributes:
        validation_folds: Values of ``fold``; an ensemble is fitted without the rows of each, and its errors on them go
            on the card. The weights kept are then trained on every row. Empty for no check.
        source: Short name of the origin of the first target's labels; rankings name it beside the id of a row.
        groups: Number of folds over which rows without a ``fold`` are distributed by reduced formula, so that no
            formula is on both sides of a check.
        merge: Merge the rows of one composition from all sources into one row with all labels.
        shares: Shares of the rows for training, validation and test if there are no validation folds.
        sources: Files to learn from; empty for all labelled rows of the data.
        teachers: Teachers of the members, which must be a mixture; they are trained first, on the same rows, and not
            kept.
    """

    name: str
    summary: str
    input: InputKind
    prototypes: tuple[str, ...] = ()
    label: str
    hull: str = "none"
    source: str = ""
    data: str
    split: str = "no rows held out"
    licence: str = "MIT"
    retrain: str
    peers: tuple[str, ...] = ()
    weaknesses: tuple[str, ...] = ()
    validation_folds: tuple[int, ...] = ()
    groups: int | None = Field(default=None, ge=2)
    merge: bool = False
    shares: str = "60/20/20"
    sources: tuple[DataSource, ...] = ()
    teachers: tuple[Teacher, ...] = ()
    targets: tuple[RecipeTarget, ...] = Field(min_length=1)
    network: Network = Network()
    fit: Fit = Fit()

    @model_validator(mode="after")
    def _input_fits_prototype(self) -> Self:
        unknown = [name for name in self.prototypes if name not in PROTOTYPES]
        if unknown or (self.input == "prototype" and not self.prototypes):
            raise ValueError(f"prototypes {', '.join(unknown) or 'missing'}: choose from {', '.join(PROTOTYPES)}")
        if self.input == "structure" and self.prototypes:
            raise ValueError("structure input has no prototypes")
        if len({PROTOTYPES[name].role_names for name in self.prototypes}) > 1:
            raise ValueError("prototypes: all need the same roles")
        unknown = sorted({label for source in self.sources for label in source.labels} - {t.name for t in self.targets})
        if unknown:
            raise ValueError(f"sources: labels that are no targets: {', '.join(unknown)}")
        if self.input == "prototype" and self.network.graphs != "shells":
            raise ValueError('graphs: prototype input needs "shells"')
        if self.input == "structure" and any(source.fill for source in self.sources):
            raise ValueError("sources: fill: only for prototype input, which has compositions")
        if self.input == "structure" and self.merge:
            raise ValueError("merge: only for prototype input")
        named = {name for target in self.targets if isinstance(target.below, dict) for name in target.below}
        if not named <= set(self.prototypes):
            raise ValueError(f"below: {', '.join(sorted(named - set(self.prototypes)))}: not a prototype of the recipe")
        self._check_readout()
        if self.teachers and not self.network.mixture:
            raise ValueError("teachers: only for prototype input with a mixture")
        self.of_teachers()
        return self

    def _check_readout(self) -> None:
        network = self.network
        if network.sites and (self.input == "structure" or network.pooling == "linear"):
            raise ValueError("sites: only for prototype input, and not with linear pooling")
        kinds = {target.name: target.kind for target in self.targets}
        parts = [kinds.get(name) for name in network.mixture]
        if network.mixture and (parts != ["number", "number", "number", "binary"] or network.pooling == "linear"):
            raise ValueError("mixture: names three targets that are numbers and a binary one; not with linear pooling")

    def of_teachers(self) -> list[TrainRecipe]:
        """Return the recipe of each teacher.

        Raises:
            ValueError: A recipe has no such key or value.
        """
        own = self.model_dump() | {"teachers": ()}
        found = [
            TrainRecipe.model_validate(own | {"network": own["network"] | t.network, "fit": own["fit"] | t.fit})
            for t in self.teachers
        ]
        if any(t.sets and not recipe.network.sites for t, recipe in zip(self.teachers, found, strict=True)):
            raise ValueError("teachers: sets: only with a readout of sites")
        return found

    @property
    def settings(self) -> Settings:
        """The shape of the networks."""
        names = tuple(target.name for target in self.targets)
        binary = tuple(target.name for target in self.targets if target.kind == "binary")
        return Settings(targets=names, binary=binary, **self.network.model_dump())

    def with_changes(self, targets: tuple[str, ...], binary: tuple[str, ...] = (), **fit: int | None) -> TrainRecipe:
        """Return the recipe with other targets (if any are given) and with the settings of `Fit` that are not None.

        Raises:
            UserError: A setting is out of range.
        """
        own = {target.name: target for target in self.targets}
        numbers = [own.get(name, RecipeTarget(name=name, unit="")) for name in targets]
        classes = [RecipeTarget(name=name, unit="probability", kind="binary") for name in binary]
        changed = (*numbers, *classes) or self.targets
        lost = sorted(set(self.network.mixture) - {target.name for target in changed})
        if lost:
            raise UserError(
                f"`target`: recipe {self.name} mixes {', '.join(self.network.mixture)}; add {', '.join(lost)}"
            )
        given = {key: value for key, value in fit.items() if value is not None}
        try:
            whole = Fit.model_validate(self.fit.model_dump() | given)
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"`{first['loc'][0]}` {first['input']}: {first['msg']}") from None
        return self.model_copy(update={"targets": changed, "fit": whole})


def plain_recipe(name: str, data: str, targets: tuple[str, ...], binary: tuple[str, ...] = ()) -> TrainRecipe:
    """Make the recipe that `cgcnn train` uses without one: structures, plain settings.

    Raises:
        UserError: There are no targets.
    """
    if not (targets or binary):
        raise UserError("no target: pass `target` or `binary`, labels of the data, or a `recipe`")
    chosen = [*(f"--target {target}" for target in targets), *(f"--binary {target}" for target in binary)]
    return TrainRecipe(
        name=name,
        summary=f"Trained on {data} without a recipe.",
        input="structure",
        label="as in the data",
        data=data,
        retrain=" ".join([f"cgcnn train {data}", *chosen, f"-o {name}"]),
        licence="not stated",
        targets=tuple(RecipeTarget(name=target, unit="") for target in targets + binary),
    )


def read_recipe(name_or_path: str | Path) -> TrainRecipe:
    """Read a training recipe.

    Raises:
        UserError: There is no such recipe, it is not TOML, or a recipe has no such key or value.
    """
    path = find_recipe(str(name_or_path))
    try:
        return TrainRecipe.model_validate(tomllib.loads(read_text(path)))
    except ValidationError as error:  # a ValueError, too
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "recipe"
        raise UserError(f"{path}: {where}: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not TOML ({error})") from None
