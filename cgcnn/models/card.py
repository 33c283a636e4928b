"""What a model says about itself. Reading a card needs neither torch nor pymatgen."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cgcnn.errors import UserError
from cgcnn.files import SMALL, read_regular, with_end
from cgcnn.network.settings import Settings

MODELS = Path(__file__).parent / "shipped"
FORMAT = 1  # of the weights file and the card together

InputKind = Literal["prototype", "structure"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Record):
    """One output of a model.

    Attributes:
        name: As in tables.
        unit: Of its values.
        description: What it is.
        minimum: Predictions below this are this; None: any number can be.
        above_experiment: Prototype → factor by which values lie above those by experiment.
    """

    name: str
    unit: str
    description: str = ""
    minimum: float | None = None
    above_experiment: dict[str, float] = {}


class Metric(_Record):
    """One figure with the conditions under which it holds."""

    metric: str
    target: str
    value: float
    unit: str
    split: str
    input: str


class Calibration(_Record):
    """How the spread of the members becomes a standard deviation; see `calibration` and `reliability` beside this file.

    Attributes:
        target: Whose.
        scale: Factor of the spread.
        floor: What is there even where the members agree, in the target's unit.
        split: On which rows it was found.
        factors: Role → element → factor of the deviation, for prototypes; mean of the logarithms over a role's sites.
        support: Weights of the features of `support` beside this file, for prototypes; the deviation is that of these
            then, and scale, floor and factors say nothing.
        anions: Symbol → what is added to these.
        held: Nominal share of a central interval → share of the labels that it held on rows it was not fitted on.
        by_element: 5th and 95th percentile over the elements of what 90 % intervals held there.
    """

    target: str
    scale: float
    floor: float
    split: str
    factors: dict[str, dict[str, float]] = {}
    support: tuple[float, ...] = ()
    anions: dict[str, float] = {}
    held: dict[float, float] = {}
    by_element: tuple[float, float] | None = None


class Odds(_Record):
    """How the members' odds of a yes become those that hold; see `calibration` beside this file.

    Attributes:
        target: Whose.
        power: Of the odds of the members' mean.
        factor: Of what comes of that.
        split: On which rows it was found.
    """

    target: str
    power: float
    factor: float
    split: str


class Card(_Record):
    """A model's card, kept as JSON beside the weights.

    ``prototypes`` are those whose candidates a model with prototype input takes; they share their roles. ``elements``
    are those of the training crystals of a model of structures; none where that is not known. ``source`` names in short
    whose numbers the labels are. ``peers`` are figures that others published for a like task, with what they were
    measured on.
    """

    name: str
    summary: str
    input: InputKind
    prototypes: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    targets: tuple[Target, ...]
    label: str
    hull: str
    source: str = ""
    data: str
    split: str
    training_size: int
    members: int
    metrics: tuple[Metric, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    odds: tuple[Odds, ...] = ()
    peers: tuple[str, ...] = ()
    weaknesses: tuple[str, ...] = ()
    recipe: str
    licence: str
    settings: Settings
    format: int = FORMAT
    version: str
    digest: str = ""


def shipped() -> dict[str, Path]:
    """Find the models that come with the package: name → weights file."""
    return {path.stem: path for path in sorted(MODELS.glob("*.safetensors"))}


def weights_path(name_or_path: str | Path) -> Path:
    """Find the weights file of a shipped model, by name, or of a path with or without its suffix.

    Raises:
        UserError: There is no such model.
    """
    known = shipped()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path)
    if path.name and (path.suffix == ".json" or not path.is_file()):
        path = with_end(path, ".safetensors")
    if not path.is_file():
        raise UserError(
            f"{name_or_path}: no such model; pass a file written by 'cgcnn train' or one of: {', '.join(known) or '-'}"
        )
    return path


def model_files(name_or_path: str | Path | None) -> list[Path]:
    """List the weights and the card of a named model; nothing if there is no such model."""
    with suppress(UserError):
        path = weights_path("" if name_or_path is None else name_or_path)
        return [path, path.with_suffix(".json")]
    return []


def read_card(name_or_path: str | Path) -> Card:
    """Read a card without its weights.

    Raises:
        UserError: The card is missing or is not one.
    """
    path = weights_path(name_or_path).with_suffix(".json")
    try:
        card = Card.model_validate_json(read_regular(path, SMALL))
    except FileNotFoundError:
        raise UserError(f"{name_or_path}: the card {path.name} is missing; copy it beside the weights") from None
    except OSError as error:
        raise UserError(f"{path}: not a model card ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UserError(f"{path}: not a model card ({where}: {first['msg']})") from None
    if card.format != FORMAT:
        raise UserError(f"{path}: format {card.format}, this version reads {FORMAT}; retrain or update the package")
    return card
