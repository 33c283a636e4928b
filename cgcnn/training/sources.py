"""What a training learns from: its recipe and its samples, of one file or of several with labels of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from cgcnn.data.composition import shapes
from cgcnn.data.consistency import agreeing
from cgcnn.data.labels import targets
from cgcnn.data.polymorphs import lowest_polymorphs
from cgcnn.data.read import read
from cgcnn.errors import UserError
from cgcnn.training.recipe import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.data.sample import Sample
    from cgcnn.training.recipe import Source, TrainRecipe

    Targets = tuple[tuple[str, ...], tuple[str, ...]]


def read_samples(data: Path, recipe: TrainRecipe | None) -> list[Sample]:
    """The samples that a recipe learns from: those of its sources, or of a file or directory.

    Raises:
        UserError: There is nothing to read, or it is not what the recipe wants.
    """
    return read_sources(data, recipe) if recipe is not None and recipe.sources else read(data)


def choose_recipe(
    base: TrainRecipe | None, samples: Sequence[Sample], about: tuple[str, str], wanted: Targets, **how: int | None
) -> TrainRecipe:
    """The recipe of a training: a given one, or plain settings, with changes.

    Args:
        base: The given one; None: structures, plain settings.
        samples: That it is to learn from.
        about: Names of the model and of the data, for the card without a recipe.
        wanted: Labels to learn as numbers, and as probabilities; none: those of the recipe, or the unnamed column of an
            ``id_prop.csv``.
        how: What of `cgcnn.training.recipe.Fit` is to be changed; None: as it is.

    Raises:
        UserError: There is nothing to learn.
    """
    targets, binary = wanted
    if base is None and not (targets or binary) and samples and "target" in samples[0].labels:
        targets = ("target",)
    return (base or plain_recipe(*about, targets, binary)).with_changes(targets, binary, **how)


def read_sources(data: Path, recipe: TrainRecipe) -> list[Sample]:
    """The samples of a recipe's sources, which are files in the directory ``data``.

    Their labels then have the names of the targets that they are; so two hulls never meet in one target.

    Raises:
        UserError: A source is not there, none of its rows is wanted, or it lacks a label.
    """
    if not data.is_dir():
        files = ", ".join(file for source in recipe.sources for file in source.files)
        raise UserError(f"{data}: recipe {recipe.name} learns from {files}; pass the directory that holds them")
    names = [target.name for target in recipe.targets]
    return [sample for source in recipe.sources for sample in _entries(data, source, names, recipe.prototypes)]


def _entries(data: Path, source: Source, names: list[str], prototypes: tuple[str, ...]) -> list[Sample]:
    samples = _polymorphs(data, source) if source.polymorphs else _rows(data, source)
    if not samples:
        wanted = "a perovskite" if source.polymorphs else str(dict(source.only))
        raise UserError(f"{data / source.files[0]}: no row is {wanted}, which the recipe wants")
    records = [sample.labels for sample in samples]
    kinds = shapes(records, prototypes) if prototypes else []
    values = targets(records, list(source.labels.values()), kinds).tolist()  # (n, labels)
    renamed = []
    for sample, row in zip(samples, values, strict=True):
        known = {name: None if math.isnan(value) else value for name, value in zip(source.labels, row, strict=True)}
        bounds = {f"{name}_is_bound": sample.labels.get(f"{label}_is_bound") for name, label in source.labels.items()}
        renamed.append(replace(sample, labels={**sample.labels, **dict.fromkeys(names), **known, **bounds}))
    return renamed


def _rows(data: Path, source: Source) -> list[Sample]:
    return [sample for file in source.files for sample in _wanted(data / file, source)]


def _polymorphs(data: Path, source: Source) -> list[Sample]:
    """The lowest polymorphs in all files; of labels with a scale of their own, those of the first file."""
    first, *others = (_wanted(data / file, source) for file in source.files)
    hidden = dict.fromkeys(source.own_scale)
    rest = [replace(sample, labels=sample.labels | hidden) for samples in others for sample in samples]
    return lowest_polymorphs([*first, *rest])


def _wanted(file: Path, source: Source) -> list[Sample]:
    """The samples of one file that the source is about."""
    samples = [
        replace(sample, labels={**source.columns, **sample.labels})
        for sample in read(file)
        if all(sample.labels.get(label) in values for label, values in source.only.items())
    ]
    return samples if source.agree is None else agreeing(samples, *source.agree)
