"""What a training learns from: its recipe and its samples, of one file or of several with labels of their own."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from cgcnn.data.composition import composition_or_reason, shapes, species
from cgcnn.data.consistency import agreeing, on_mp2020
from cgcnn.data.labels import targets
from cgcnn.data.polymorphs import gains, lowest_polymorphs
from cgcnn.data.read import read
from cgcnn.errors import UserError
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.training.recipe import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cgcnn.data.records import Record
    from cgcnn.data.sample import Sample
    from cgcnn.training.recipe import Source, TrainRecipe

    Targets = tuple[tuple[str, ...], tuple[str, ...]]

_ABX3 = re.compile("([A-Z][a-z]?)([A-Z][a-z]?)([A-Z][a-z]?)3")


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
    entries = [_entries(data, source, names, recipe.prototypes) for source in recipe.sources]
    known = {
        key
        for source, samples in zip(recipe.sources, entries, strict=True)
        if not source.fill
        for sample in samples
        for key in _known(sample, names, recipe.prototypes)
    }
    for source, samples in zip(recipe.sources, entries, strict=True):
        if source.fill:
            samples[:] = [_filling(sample, names, recipe.prototypes, known) for sample in samples]
    return [sample for samples in entries for sample in samples]


def _known(sample: Sample, names: Sequence[str], prototypes: Sequence[str]) -> list[tuple[bytes, str]]:
    """The targets that a sample has, each beside its composition."""
    kinds = [PROTOTYPES[name] for name in prototypes]
    found = composition_or_reason(sample.labels, kinds)
    if isinstance(found, str):
        return []
    key = bytes([found.prototype, *species([found], kinds)[0].tolist()])
    return [(key, name) for name in names if sample.labels.get(name) is not None]


def _filling(sample: Sample, names: Sequence[str], prototypes: Sequence[str], known: set[tuple[bytes, str]]) -> Sample:
    """The sample without the targets that are known of its composition."""
    hidden = [name for key, name in _known(sample, names, prototypes) if (key, name) in known]
    return replace(sample, labels=sample.labels | dict.fromkeys(hidden))


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
        bounds = {
            name + end: sample.labels.get(label + end)
            for name, label in source.labels.items()
            for end in ("_is_bound", "_computed")
        }
        renamed.append(replace(sample, labels={**sample.labels, **dict.fromkeys(names), **known, **bounds}))
    return renamed


def _rows(data: Path, source: Source) -> list[Sample]:
    wanted = ((file, _wanted(data / file, source)) for file in source.files)
    return [sample for file, found in wanted for sample in (on_mp2020(found) if file in source.legacy else found)]


def _polymorphs(data: Path, source: Source) -> list[Sample]:
    """The lowest polymorphs in all files."""
    found = None if source.gains is None else gains(read(data / source.gains))
    return lowest_polymorphs(_rows(data, source), found)


def _wanted(file: Path, source: Source) -> list[Sample]:
    """The samples of one file that the source is about."""
    samples = [
        replace(sample, labels={**source.columns, **sample.labels})
        for sample in read(file)
        if all(sample.labels.get(label) in values for label, values in source.only.items())
    ]
    if source.formula is not None:
        samples = [replace(sample, labels=sites | sample.labels) for sample in samples if (sites := _sites(sample))]
    return samples if source.agree is None else agreeing(samples, *source.agree)


def _sites(sample: Sample) -> Record:
    """The site columns of a sample with a formula ABX3; empty if it has another."""
    found = _ABX3.fullmatch(str(sample.labels.get("formula", "")))
    return {} if found is None else {"A": found[1], "B": found[2], "X": [found[3]] * 3}
