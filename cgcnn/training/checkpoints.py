"""The folder in which an unfinished training keeps its progress, and which training it is of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.errors import UserError
from cgcnn.files import read_text, write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.training.recipe import TrainRecipe
    from cgcnn.training.split import Split
    from cgcnn.training.table import Table

_DECISIVE = {"input", "prototypes", "validation_folds", "network", "fit", "targets"}
"""What of a recipe decides the weights; the texts of the card do not."""


def claim(folder: Path, table: Table, recipe: TrainRecipe, splits: Sequence[Split] = (), *, resume: bool) -> None:
    """Prepare a folder for the checkpoints of this very training.

    Raises:
        UserError: Another training's checkpoints are there, or this one's and ``resume`` is false; or the folder cannot
            be written.
    """
    mark, own = folder / "identity", identity(table, recipe, splits)
    if mark.exists() and not resume:
        raise UserError(f"{folder}: holds an unfinished training; pass `resume`, or delete the folder")
    if mark.exists() and _mark(mark) != own:
        raise UserError(f"{folder}: made from other data or another recipe; use those, or delete the folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another output") from None
    write_whole(mark, own)


def _mark(path: Path) -> str:
    """What a mark says; nothing of ours if it is not readable text."""
    try:
        return read_text(path)
    except (OSError, ValueError):
        return ""


def identity(table: Table, recipe: TrainRecipe, splits: Sequence[Split] = ()) -> str:
    """Sha256 over the rows, the splits, and what of the recipe decides the weights."""
    decisive = _DECISIVE | ({"teachers"} if recipe.teachers else set())  # others are what they were without this key
    sha = hashlib.sha256(recipe.model_dump_json(include=decisive).encode())
    for split in splits:
        sha.update(split.part.tobytes())
    if table.graphs is not None:
        sha.update(table.graphs.to_bytes())
    for array in (table.targets, table.fold, table.shape, table.species, table.lattice, table.bound):
        if array is not None:
            sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
