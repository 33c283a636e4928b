"""The data of a recipe that learns from several files at once, each with labels of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from cgcnn.data.composition import shapes
from cgcnn.data.labels import targets
from cgcnn.data.read import read
from cgcnn.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from cgcnn.data.records import Record
    from cgcnn.data.sample import Sample
    from cgcnn.training.recipe import Source, TrainRecipe


def read_sources(data: Path, recipe: TrainRecipe) -> list[Sample]:
    """The samples of a recipe's sources, which are files in the directory ``data``.

    Their labels then have the names of the targets that they are; so two hulls never meet in one target.

    Raises:
        UserError: A source is not there, none of its rows is wanted, or it lacks a label.
    """
    if not data.is_dir():
        files = ", ".join(source.file for source in recipe.sources)
        raise UserError(f"{data}: recipe {recipe.name} learns from {files}; pass the directory that holds them")
    names = [target.name for target in recipe.targets]
    return [sample for source in recipe.sources for sample in _entries(data, source, names, recipe.prototypes)]


def _entries(data: Path, source: Source, names: list[str], prototypes: tuple[str, ...]) -> list[Sample]:
    samples = [sample for sample in read(data / source.file) if _is_wanted(sample.labels, source)]
    if not samples:
        raise UserError(f"{data / source.file}: no row is {dict(source.only)}, which the recipe wants")
    records = [sample.labels for sample in samples]
    kinds = shapes(records, prototypes) if prototypes else []
    values = targets(records, list(source.labels.values()), kinds).tolist()  # (n, labels)
    renamed = []
    for sample, row in zip(samples, values, strict=True):
        known = {name: None if math.isnan(value) else value for name, value in zip(source.labels, row, strict=True)}
        renamed.append(replace(sample, labels={**sample.labels, **dict.fromkeys(names), **known}))
    return renamed


def _is_wanted(record: Record, source: Source) -> bool:
    return all(record.get(label) in values for label, values in source.only.items())
