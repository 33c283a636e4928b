"""Training recipes: one TOML file says everything that a training needs besides the data."""

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
    """Shape of the networks; see `cgcnn.network.settings.Settings`."""

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
    """How the members are trained.

    The rate rises over the first ``warm_up`` share of the steps to ``learning_rate`` and falls to zero on a cosine. The
    weights kept are a moving average with decay ``average`` a step, or less in a short training. With ``patience``, a
    member stops after so many epochs without a lower loss on the validation part of a split.
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
    """One of several files to learn from.

    Attributes:
        file: Its name in the directory of the data, or several names.
        labels: Target → the file's label that it is; the rows have no other targets.
        only: Label → its values in the rows to use; empty: all rows.
        polymorphs: Its rows are crystals, of which the lowest perovskite of every composition is a row, see
            `cgcnn.training.curation`; of several files, the lowest of all of them.
        legacy: Those of its files whose formation energies have the Materials Project's corrections before 2020; they
            are put on the scale of 2020, see `cgcnn.training.curation.on_mp2020`.
        gains: A table of relaxed starts, which says how much lower than the cubic crystal other polymorphs lie, see
            `cgcnn.training.curation.gains`.
        agree: Two labels that are energies of one calculation; crystals where they are not are left out, see
            `cgcnn.training.curation`.
        columns: Columns that its rows lack, such as X = "O" of a table of oxides.
        formula: Its rows have a formula instead of columns of sites, such as KMgF3, whose elements in that order are on
            A, B and X. Rows with other formulas are left out.
        fill: Its labels count only for compositions of which no other source has that target.
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
        """Names of the files."""
        return (self.file,) if isinstance(self.file, str) else self.file


Share = Annotated[float, Field(ge=0, le=1)]


class RecipeTarget(Target):
    """A target, its share in the loss, and whether it is a number or yes (1) or no (0).

    Where the label ``NAME_is_bound`` of a row is 1, the row's value is an upper bound: a prediction below it costs the
    share ``below`` of one above it. It is one number, or one for each prototype, by name.
    """

    weight: float = Field(default=1.0, gt=0)
    kind: Literal["number", "binary"] = "number"
    below: Share | dict[str, Share] = 1.0

    def below_on(self, prototype: str) -> float:
        """`below` for rows of a prototype; 1 where there is none."""
        return self.below.get(prototype, 1.0) if isinstance(self.below, dict) else self.below


class Teacher(_Section):
    """Networks that tell the members what they expect of compositions without labels; see `cgcnn.training.distil`.

    Attributes:
        network: How their shape differs from that of the members; without layers they have no graph.
        fit: How their training differs from that of the members.
        sets: Whether a set of elements on one role, such as O2N, has a vector of its own in their readout of sites; see
            `cgcnn.training.distil`.
    """

    network: dict[str, Any] = Field(default_factory=dict)
    fit: dict[str, Any] = Field(default_factory=dict)
    sets: bool = False


class TrainRecipe(_Section):
    """A whole training: what the model is, its targets, its networks, how they are fitted.

    Attributes:
        validation_folds: For each of these, rows of this ``fold`` are held out of an ensemble, whose errors there go on
            the card; the weights kept are then trained on every row. Empty: no such check.
        source: Whose numbers the labels of the first target are, in short; rankings name it beside the id of a row.
        groups: Rows without a ``fold`` get one of so many, the same for all rows of one reduced formula, whatever the
            file: no formula is then on both sides of a check.
        merge: Rows of one composition, from whichever source, are one row with the labels of all.
        shares: Without a validation fold, shares of the rows for training, validation and test; as in the paper.
        sources: Files to learn from; empty: all labelled rows of the data.
        teachers: Of the members, which are a mixture; trained before them on the same rows, and not kept.
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
            raise ValueError(f"prototypes {', '.join(unknown) or 'missing'}: there is {', '.join(PROTOTYPES)}")
        if self.input == "structure" and self.prototypes:
            raise ValueError("structure input has no prototypes")
        if len({PROTOTYPES[name].role_names for name in self.prototypes}) > 1:
            raise ValueError("prototypes of one model have the same roles")
        unknown = sorted({label for source in self.sources for label in source.labels} - {t.name for t in self.targets})
        if unknown:
            raise ValueError(f"sources have labels that are no targets: {', '.join(unknown)}")
        if self.input == "prototype" and self.network.graphs != "shells":
            raise ValueError("graphs of prototypes have complete shells")
        if self.input == "structure" and any(source.fill for source in self.sources):
            raise ValueError("sources: fill: only for prototype input, which has compositions")
        if self.input == "structure" and self.merge:
            raise ValueError("rows of structures are not merged")
        named = {name for target in self.targets if isinstance(target.below, dict) for name in target.below}
        if not named <= set(self.prototypes):
            raise ValueError(f"below: {', '.join(sorted(named - set(self.prototypes)))}: not a prototype of the recipe")
        self._check_readout()
        if self.teachers and not self.network.mixture:
            raise ValueError("teachers: only of prototype input with a mixture")
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
        """The recipe of each of the teachers.

        Raises:
            ValueError: Some key or value of theirs is none that a recipe has.
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
        """Shape of the networks."""
        names = tuple(target.name for target in self.targets)
        binary = tuple(target.name for target in self.targets if target.kind == "binary")
        return Settings(targets=names, binary=binary, **self.network.model_dump())

    def with_changes(self, targets: tuple[str, ...], binary: tuple[str, ...] = (), **how: int | None) -> TrainRecipe:
        """The same recipe with other targets (none: its own) and with what of `Fit` is given and not None."""
        own = {target.name: target for target in self.targets}
        numbers = [own.get(name, RecipeTarget(name=name, unit="")) for name in targets]
        classes = [RecipeTarget(name=name, unit="probability", kind="binary") for name in binary]
        changed = (*numbers, *classes) or self.targets
        fit = self.fit.model_copy(update={key: value for key, value in how.items() if value is not None})
        return self.model_copy(update={"targets": changed, "fit": fit})


def plain_recipe(name: str, data: str, targets: tuple[str, ...], binary: tuple[str, ...] = ()) -> TrainRecipe:
    """Structures in, plain settings: what `cgcnn train` does without a recipe.

    Raises:
        UserError: No targets.
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
        UserError: No such recipe, not TOML, or a key or value that no recipe has.
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
