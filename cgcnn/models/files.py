"""Models as files: safetensors, and the card as JSON beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import load as deserialize
from safetensors.numpy import save as serialize

from cgcnn.errors import UserError
from cgcnn.files import read_regular, with_end, write_whole
from cgcnn.models.arrays import named_arrays, wrong_with_card, wrong_with_domain, wrong_with_likeness, wrong_with_member
from cgcnn.models.card import read_card, weights_path
from cgcnn.models.domain import Domain, Likeness
from cgcnn.models.model import Model

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

LARGEST = 2**30
"""Bytes of the weights of a model; shipped ones have up to 7 million."""
HEADER = 4 * 2**20
"""Bytes of names, types and shapes in it: tens of thousands of arrays."""


def save(model: Model, path: str | Path) -> Path:
    """Write ``path``.safetensors and its card ``path``.json; both appear whole or not at all.

    Raises:
        UserError: A file cannot be written.
    """
    target = with_end(Path(path), ".safetensors")
    write_whole(target, serialize(named_arrays(model.members, model.domain)))
    write_whole(target.with_suffix(".json"), model.card.model_dump_json(indent=2) + "\n")
    return target


def load(name_or_path: str | Path) -> Model:
    """Read a shipped model by name, or any model by path.

    Raises:
        UserError: No such model, not a model, damaged, or a card that belongs to other weights.
    """
    path = weights_path(name_or_path)
    card = read_card(path)
    if reason := wrong_with_card(card):
        raise UserError(f"{path}: not a model ({reason}); pass a file written by 'cgcnn train'")
    named = _arrays(path)
    members = [_part(named, f"members.{i}.") for i in range(card.members)]
    wrong = next(filter(None, (wrong_with_member(member, card.settings) for member in members)), "")
    parts = _part(named, "domain.")
    if card.input == "prototype":
        wrong = wrong or wrong_with_domain(parts, card.prototypes)
    elif parts:
        wrong = wrong or wrong_with_likeness(parts, card.settings)
    if wrong:
        raise UserError(f"{path}: not a model file ({wrong}); pass a file written by 'cgcnn train'")
    kind = Domain if card.input == "prototype" else Likeness
    model = Model(card, members, kind(**parts) if parts else None)
    if model.digest != card.digest:
        raise UserError(f"{path}: the weights are not those of the card {path.stem}.json; copy both files again")
    return model


def read_domain(path: str | Path) -> Domain | None:
    """Read what a model of prototypes was trained on, without its networks; None for a model of structures.

    Raises:
        UserError: There is no such model, or it is damaged.
    """
    path = weights_path(path)
    card = read_card(path)
    if card.input != "prototype":
        return None
    parts = _part(_arrays(path), "domain.")
    if wrong := wrong_with_domain(parts, card.prototypes):
        raise UserError(f"{path}: not a model file ({wrong}); pass a file written by 'cgcnn train'")
    return Domain(**parts)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file, by name.

    Raises:
        UserError: It is not a model file.
    """
    try:
        data = read_regular(path, LARGEST)
        if int.from_bytes(data[:8], "little") > HEADER:
            raise ValueError(f"a header of more than {HEADER:,} bytes")  # noqa: TRY301  # one message for all
        return deserialize(data)
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: not a model file ({error}); pass a file written by 'cgcnn train'") from None


def _part(named: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Select the arrays whose names start so, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in named.items() if name.startswith(prefix)}
