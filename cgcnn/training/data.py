"""Training data: samples read as a recipe asks, the table of labelled rows, and its split into parts.

Shapes: n rows, T targets.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data import labels
from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason, formula_group, group, shapes, species
from cgcnn.data.labels import targets
from cgcnn.data.read import read
from cgcnn.errors import UserError
from cgcnn.files import whole_number
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.training.curation import agreeing, gains, lowest_polymorphs, on_mp2020
from cgcnn.training.recipe import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.samples import Record, Sample
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.domain import Domain
    from cgcnn.network.settings import Settings
    from cgcnn.training.recipe import DataSource, TrainRecipe

    Targets = tuple[tuple[str, ...], tuple[str, ...]]


PARTS = ("train", "validation", "test")
_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Split:
    """A split of n rows into parts.

    Attributes:
        part: (n,) int8, position in `PARTS`; -1 for a row in none.
        text: How the rows were chosen, for the card.
    """

    part: NDArray[np.int8]
    text: str

    def rows(self, name: str) -> NDArray[np.int64]:
        """Return the positions of the rows of a part."""
        return np.flatnonzero(self.part == PARTS.index(name))

    def __post_init__(self) -> None:
        if not (self.part == 0).any():
            raise UserError(f"no training rows ({self.text}; {len(self.part)} rows)")


def everything(n: int) -> Split:
    """Use all n rows for training."""
    return Split(np.zeros(n, dtype=np.int8), "all rows")


def by_share(usable: NDArray[np.bool_], shares: Sequence[float], seed: int) -> Split:
    """Draw rows at random, by the shares of training, validation and test in any unit.

    Args:
        usable: (n,) rows that may be in a part.
        shares: Three numbers.
        seed: Seed of the draw.

    Raises:
        UserError: The shares are not three numbers of which one is positive.
    """
    if len(shares) != 3 or min(shares) < 0 or sum(shares) <= 0:
        raise UserError(f"split {'/'.join(f'{s:g}' for s in shares)}: give three shares, such as 60/20/20")
    n = int(usable.sum())
    ends = np.round(np.cumsum(shares) / sum(shares) * n).astype(int)
    text = f"random {'/'.join(f'{s:g}' for s in shares)} split, seed {seed}"
    return _drawn(usable, np.diff(ends, prepend=0).tolist(), seed, text)


def by_size(usable: NDArray[np.bool_], sizes: Sequence[int], seed: int) -> Split:
    """Draw given numbers of rows at random for training, validation and test; the others are in no part.

    Raises:
        UserError: There are not three numbers, or not enough usable rows.
    """
    if len(sizes) != 3 or min(sizes) < 0 or sum(sizes) > usable.sum():
        text = "/".join(str(s) for s in sizes)
        raise UserError(f"sizes {text}: give three numbers of rows, at most {usable.sum()} together")
    return _drawn(usable, sizes, seed, f"random split of {'/'.join(map(str, sizes))} rows, seed {seed}")


def nested(usable: NDArray[np.bool_], size: int, held: int, seed: int) -> Split:
    """Draw ``held`` rows for validation, as many for the test, and ``size`` rows for training at random.

    Only the training part depends on the size; a larger one contains every smaller one.

    Raises:
        UserError: There are not enough usable rows.
    """
    order = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    if not 0 < size <= len(order) - 2 * held:
        raise UserError(f"{size} training rows: give 1 to {len(order) - 2 * held}; {2 * held} of the rows are held out")
    part = np.full(len(usable), -1, dtype=np.int8)
    part[order[:held]], part[order[held : 2 * held]], part[order[2 * held : 2 * held + size]] = 2, 1, 0
    return Split(part, f"{size} training rows drawn at random, {held} for validation, seed {seed}")


def _drawn(usable: NDArray[np.bool_], sizes: Sequence[int], seed: int, text: str) -> Split:
    order = np.random.default_rng(seed).permutation(np.flatnonzero(usable))
    part = np.full(len(usable), -1, dtype=np.int8)
    start = 0
    for i, size in enumerate(sizes):
        part[order[start : start + size]] = i
        start += size
    return Split(part, text)


def by_column(usable: NDArray[np.bool_], name: str, values: Sequence[object], test: str | None) -> Split:
    """Split rows by a column that says train, validation or test, or by a column of folds of which ``test`` is one.

    With folds, the fold after the test fold is for validation.

    Raises:
        UserError: There is no such fold, or a value names no part.
    """
    texts = ["" if value is None else str(value).strip() for value in values]
    if test is None:
        wrong = sorted({text for text in texts if text and text.casefold() not in _NAMES})
        if wrong or not any(texts):
            said = f"holds {wrong[0]!r}" if wrong else "is empty"
            raise UserError(f"column {name} {said}; it must say train, validation or test, or pass `test_fold`")
        part = np.array([_NAMES.get(text.casefold(), -1) for text in texts], dtype=np.int8)
        return Split(np.where(usable, part, -1).astype(np.int8), f"parts by the column {name}")
    folds = sorted({text for text in texts if text}, key=lambda text: (len(text), text))
    if test not in folds or len(folds) < 2:
        raise UserError(f"`test_fold` {test}: column {name} has the folds {', '.join(folds) or 'none'}")
    validation = folds[(folds.index(test) + 1) % len(folds)] if len(folds) > 2 else None
    part = np.array([2 if t == test else 1 if t == validation else 0 if t else -1 for t in texts], dtype=np.int8)
    return Split(np.where(usable, part, -1).astype(np.int8), f"fold {test} of the column {name} as test part")


def folds(usable: NDArray[np.bool_], k: int, seed: int) -> list[Split]:
    """Draw rows at random into k folds and return k splits: each fold is the test part once, the next validates.

    Raises:
        UserError: There are fewer than 3 folds, or more folds than rows.
    """
    n = int(usable.sum())
    if not 3 <= k <= n:
        raise UserError(f"{k} folds of {n} rows: give at least 3, and no more than there are rows")
    fold = np.full(len(usable), -1)
    fold[np.random.default_rng(seed).permutation(np.flatnonzero(usable))] = np.arange(n) % k
    parts = [np.where(fold == i, 2, np.where(fold == (i + 1) % k, 1, 0)) for i in range(k)]
    text = f"{k} random folds, seed {seed}"
    return [Split(np.where(fold < 0, -1, part).astype(np.int8), text) for part in parts]


@dataclass(frozen=True)
class Division:
    """A choice of how to split the rows; at most one way may be set.

    Attributes:
        split: Shares of training, validation and test rows, such as ``60/20/20``.
        sizes: Numbers of training, validation and test rows.
        fold_column: Label that says train, validation or test, or names a fold.
        test_fold: Fold of ``fold_column`` to test on; the next one validates.
        folds: Number of folds, each of which is the test part once.
    """

    split: str | None = None
    sizes: str | None = None
    fold_column: str | None = None
    test_fold: str | None = None
    folds: int | None = None

    def splits(self, usable: NDArray[np.bool_], labels: Sequence[Record], recipe: TrainRecipe) -> list[Split]:
        """Split the rows; return no split if none is set and the recipe has validation folds.

        Args:
            usable: (n,) rows that may be in a part.
            labels: Labels of the n rows.
            recipe: Recipe with the seed, and the shares if no way is set.

        Raises:
            UserError: Several ways are set, or one does not fit the rows.
        """
        ways = ("split", "sizes", "fold_column", "folds")
        asked = [f"`{way}`" for way in ways if getattr(self, way) is not None]
        if len(asked) > 1:
            raise UserError(f"{' and '.join(asked)}: choose one way to split")
        if self.test_fold is not None and self.fold_column is None:
            raise UserError("`test_fold`: needs `fold_column`, the label that names the folds")
        if self.fold_column is not None:
            values = [record.get(self.fold_column) for record in labels]
            return [by_column(usable, self.fold_column, values, self.test_fold)]
        seed = recipe.fit.seed
        if self.folds is not None:
            return folds(usable, self.folds, seed)
        if self.sizes is not None:
            return [by_size(usable, _whole_numbers("sizes", self.sizes), seed)]
        if self.split is None and recipe.validation_folds:
            return []
        return [by_share(usable, _numbers("split", self.split or recipe.shares), seed)]


def _numbers(setting: str, text: str) -> list[float]:
    with suppress(ValueError):
        found = [float(part) for part in text.replace(",", "/").split("/")]
        if all(map(math.isfinite, found)):
            return found
    raise UserError(f"`{setting}` {text}: give three numbers, such as 60/20/20")


def _whole_numbers(setting: str, text: str) -> list[int]:
    found = [whole_number(part.strip()) for part in text.replace(",", "/").split("/")]
    if None in found:
        raise UserError(f"`{setting}` {text}: give three whole numbers, such as 6000/2000/2000")
    return [number for number in found if number is not None]


@dataclass(frozen=True)
class TrainingTable:
    """Labelled rows in the form that a recipe's kind of input needs.

    Attributes:
        ids: Ids of the n rows.
        targets: (n, T) float32; NaN where missing.
        fold: (n,) int64; -1 for a row in no fold.
        shape: (n,) int8, position of each row's prototype in the recipe's list; prototype input only.
        species: (n, n_sites) canonical compositions, 0 beyond the sites of a row's prototype; prototype input only.
        lattice: (n,) lattice constants of the labelled crystals in Å, NaN where unknown; prototype input only.
        graphs: n graphs; structure input only.
        bound: (n, T) bool, True where a target is only an upper bound; None if all are exact.
        computed: (n,) computed upper bound from which a row's first target was estimated, NaN for other rows; None if
            there is no such row.
    """

    ids: tuple[str, ...]
    targets: NDArray[np.float32]
    fold: NDArray[np.int64]
    shape: NDArray[np.int8] | None = None
    species: NDArray[np.uint8] | None = None
    lattice: NDArray[np.float32] | None = None
    graphs: GraphBatch | None = None
    bound: NDArray[np.bool_] | None = None
    computed: NDArray[np.float32] | None = None

    def rows(self, chosen: NDArray[np.bool_]) -> TrainingTable:
        """Return the rows where ``chosen`` (n,) is true."""
        return TrainingTable(
            tuple(self.ids[i] for i in np.flatnonzero(chosen)),
            self.targets[chosen],
            self.fold[chosen],
            None if self.shape is None else self.shape[chosen],
            None if self.species is None else self.species[chosen],
            None if self.lattice is None else self.lattice[chosen],
            None if self.graphs is None else self.graphs.select(np.flatnonzero(chosen)),
            None if self.bound is None else self.bound[chosen],
            None if self.computed is None else self.computed[chosen],
        )

    def of(self, position: int, prototype: Prototype) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return positions (k,) and compositions (k, n_sites) of the rows of the recipe's ``position``-th prototype."""
        if self.shape is None or self.species is None:
            raise ValueError("crystals have no prototype")
        rows = np.flatnonzero(self.shape == position)
        return rows, self.species[rows, : len(prototype.sites)]

    def by_prototype(self, prototypes: Sequence[str]) -> list[tuple[Prototype, NDArray[np.int64], NDArray[np.uint8]]]:
        """Return each of the recipe's prototypes with the positions and compositions of its rows, see `of`."""
        kinds = [PROTOTYPES[name] for name in prototypes]
        return [(kind, *self.of(position, kind)) for position, kind in enumerate(kinds)]

    @property
    def lattices(self) -> NDArray[np.float32]:
        """`lattice` of a table of prototypes."""
        if self.lattice is None:
            raise ValueError("crystals have no prototype")
        return self.lattice


@dataclass(frozen=True)
class Prepared:
    """A table, and which samples it holds.

    Attributes:
        table: The usable rows.
        samples: Their samples, in the table's order.
        failures: Position of each unusable sample → reason.
    """

    table: TrainingTable
    samples: list[Sample]
    failures: dict[int, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) bool, rows that have a label."""
        return np.asarray(~np.isnan(self.table.targets).all(axis=1))


def prepare(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder | None = None) -> Prepared:
    """Make the table of samples; leave out unusable samples and say why.

    Raises:
        UserError: A label is not a number, a crystal is listed twice although rows are split at random, or no sample is
            usable or has a target.
    """
    settings, prototypes = recipe.settings, [PROTOTYPES[name] for name in recipe.prototypes]
    found: Sequence[CrystalGraph | Composition | str]
    if prototypes:
        found = [composition_or_reason(sample.labels, prototypes) for sample in samples]
    else:
        found = (builder or Builder(Rule.of(settings))).build(samples)
    failures = {i: reason for i, reason in enumerate(found) if isinstance(reason, str)}
    good = [sample for i, sample in enumerate(samples) if i not in failures]
    if not good:
        raise UserError(f"none of {len(samples)} crystals can be used; the first is {samples[0].id}: {failures[0]}")
    if recipe.groups is None and not recipe.merge:
        _refuse_repeated(good)
    records, ids = [sample.labels for sample in good], tuple(sample.id for sample in good)
    compositions = [row for row in found if isinstance(row, Composition)]
    fold = np.array([-1 if (fold := whole_number(str(record.get("fold")))) is None else fold for record in records])
    if recipe.groups is not None:
        own = [_group(row, prototypes, recipe.groups) for row in found if not isinstance(row, str)]
        fold = np.where(fold < 0, own, fold)
    shapes = [prototypes[row.prototype] for row in compositions]
    targets = labels.targets(records, settings.targets, shapes, settings.binary)
    if not prototypes:
        graphs = GraphBatch.of_graphs([graph for graph in found if isinstance(graph, CrystalGraph)])
        return Prepared(TrainingTable(ids, targets, fold, graphs=graphs), good, failures)
    lattice = labels.targets(records, ["a"], shapes)[:, 0]
    shape = np.array([row.prototype for row in compositions], dtype=np.int8)
    sites, bound = species(compositions, prototypes), labels.bounds(records, settings.targets)
    known = labels.computed(records, settings.targets[0])
    table = TrainingTable(ids, targets, fold, shape=shape, species=sites, lattice=lattice, bound=bound, computed=known)
    if recipe.merge:
        table, first = merge(table)
        good = [good[i] for i in first.tolist()]
    return Prepared(table, good, failures)


def _refuse_repeated(samples: Sequence[Sample]) -> None:
    """Refuse a crystal listed twice under one id: it could be in both training and test.

    Raises:
        UserError: There is one.
    """
    for (name, _, _), count in Counter((sample.id, sample.form, sample.content) for sample in samples).items():
        if count > 1:
            raise UserError(
                f"crystal {name} is listed {count} times and could be in both training and test. "
                "Keep it once, with one label."
            )


def _group(row: CrystalGraph | Composition, prototypes: Sequence[Prototype], groups: int) -> int:
    """Return the group of a row's reduced formula."""
    if isinstance(row, Composition):
        return group(row, prototypes, groups)
    counts: Counter[int] = Counter()
    for number, often in zip(row.numbers.tolist(), row.multiplicity.tolist(), strict=True):
        counts[number] += often
    return formula_group(counts, groups)


def merge(table: TrainingTable) -> tuple[TrainingTable, NDArray[np.int64]]:
    """Merge the rows of each composition into one with the labels of all, in the order of first rows.

    If several rows have a label, the lowest value counts, as for the lowest of several crystals. The id is that of the
    row with the lowest first target.

    Returns:
        The table, and for each of its rows the position of the first row merged into it.
    """
    if table.shape is None or table.species is None:
        raise ValueError("crystals are not merged")
    keys = np.column_stack([table.shape, table.species])
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rank, order = np.argsort(np.argsort(first))[which.ravel()], np.sort(first)  # (n,) new row of each old one
    least = _least(table.targets, rank, len(order))
    lattice = _least(table.lattices[:, None], rank, len(order))[:, 0]
    bound = None
    if table.bound is not None:
        counts = table.targets <= least[rank]  # (n, T) rows with the lowest value
        exact, some = (np.zeros(least.shape, dtype=np.bool_) for _ in range(2))
        np.logical_or.at(exact, rank, counts & ~table.bound)
        np.logical_or.at(some, rank, counts & table.bound)
        bound = some & ~exact
    rows = table.rows(np.isin(np.arange(len(keys)), order))
    lowest = _first_with(table.targets[:, 0] == least[rank, 0], rank, order)
    ids = tuple(table.ids[row] for row in lowest.tolist())
    computed = None if table.computed is None else table.computed[lowest]
    return replace(rows, ids=ids, targets=least, lattice=lattice, bound=bound, computed=computed), order


def _first_with(holds: NDArray[np.bool_], rank: NDArray[np.int64], otherwise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (rows,) the first row of each rank (n,) where ``holds`` (n,) is true, or ``otherwise`` (rows,)."""
    found = otherwise.copy()
    rows = np.flatnonzero(holds)[::-1]  # of several rows, the first is written last
    found[rank[rows]] = rows
    return found


def _least(values: NDArray[np.float32], rank: NDArray[np.int64], rows: int) -> NDArray[np.float32]:
    """Return (rows, T) the lowest of the values (n, T) of each rank (n,); NaN where there is none."""
    least = np.full((rows, values.shape[1]), np.inf, dtype=np.float32)
    np.minimum.at(least, rank, np.nan_to_num(values, nan=np.inf))
    return np.where(np.isinf(least), np.float32(np.nan), least)


def inputs(table: TrainingTable, settings: Settings, prototypes: Sequence[str], domain: Domain | None) -> GraphBatch:
    """Return the graphs that a network reads: built from compositions for prototypes, from crystals otherwise."""
    if table.graphs is not None:
        return table.graphs
    if domain is None:
        raise ValueError("prototype input needs a domain")
    parts = table.by_prototype(prototypes)
    batches = [
        GraphBatch.of_prototype(prototype, species, domain.reference_lattice(prototype, species), settings.neighbours)
        for prototype, _, species in parts
    ]
    place = np.empty(len(table.targets), dtype=np.int64)  # of each row in the concatenated batches
    place[np.concatenate([rows for _, rows, _ in parts])] = np.arange(len(place))
    return GraphBatch.concatenate(batches).select(place)


_ABX3 = re.compile("([A-Z][a-z]?)([A-Z][a-z]?)([A-Z][a-z]?)3")


def read_samples(data: Path, recipe: TrainRecipe | None) -> list[Sample]:
    """Read the samples of a training: those of the recipe's sources, or of a file or directory.

    Raises:
        UserError: There is nothing to read, or not what the recipe needs.
    """
    return read_sources(data, recipe) if recipe is not None and recipe.sources else read(data)


def choose_recipe(
    base: TrainRecipe | None, samples: Sequence[Sample], about: tuple[str, str], wanted: Targets, **fit: int | None
) -> TrainRecipe:
    """Choose the recipe of a training: a given one or plain settings, with changes.

    Args:
        base: A recipe; None for structures with plain settings.
        samples: Training samples.
        about: Names of the model and the data, for the card of a training without a recipe.
        wanted: Labels to learn as numbers, and as probabilities; if empty, those of the recipe, or the unnamed column
            of an ``id_prop.csv``.
        fit: Changes to the recipe's `cgcnn.training.recipe.Fit`; None keeps a setting.

    Raises:
        UserError: There is nothing to learn.
    """
    targets, binary = wanted
    if base is None and not (targets or binary) and samples and "target" in samples[0].labels:
        targets = ("target",)
    return (base or plain_recipe(*about, targets, binary)).with_changes(targets, binary, **fit)


def read_sources(data: Path, recipe: TrainRecipe) -> list[Sample]:
    """Read the sources of a recipe, which are files in the directory ``data``.

    Labels are renamed to the targets that they are, so that energies above different hulls never mix in one target.

    Raises:
        UserError: A source is missing, has no row of the wanted kind, or lacks a label.
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
    """Return the targets that a sample has, each with its composition; none for structures."""
    if not prototypes:
        return []
    kinds = [PROTOTYPES[name] for name in prototypes]
    found = composition_or_reason(sample.labels, kinds)
    if isinstance(found, str):
        return []
    key = bytes([found.prototype, *species([found], kinds)[0].tolist()])
    return [(key, name) for name in names if sample.labels.get(name) is not None]


def _filling(sample: Sample, names: Sequence[str], prototypes: Sequence[str], known: set[tuple[bytes, str]]) -> Sample:
    """Drop the targets of a sample that are known for its composition."""
    hidden = [name for key, name in _known(sample, names, prototypes) if (key, name) in known]
    return replace(sample, labels=sample.labels | dict.fromkeys(hidden))


def _entries(data: Path, source: DataSource, names: list[str], prototypes: tuple[str, ...]) -> list[Sample]:
    samples = _polymorphs(data, source) if source.polymorphs else _rows(data, source)
    if not samples:
        wanted = "a perovskite" if source.polymorphs else str(dict(source.only))
        raise UserError(f"{data / source.files[0]}: no row is {wanted}, as the recipe needs")
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


def _rows(data: Path, source: DataSource) -> list[Sample]:
    wanted = ((file, _wanted(data / file, source)) for file in source.files)
    return [sample for file, found in wanted for sample in (on_mp2020(found) if file in source.legacy else found)]


def _polymorphs(data: Path, source: DataSource) -> list[Sample]:
    """Find the lowest polymorphs in all files of a source."""
    found = None if source.gains is None else gains(read(data / source.gains))
    return lowest_polymorphs(_rows(data, source), found)


def _wanted(file: Path, source: DataSource) -> list[Sample]:
    """Read the samples of one file that the source selects."""
    samples = [
        replace(sample, labels={**source.columns, **sample.labels})
        for sample in read(file)
        if all(sample.labels.get(label) in values for label, values in source.only.items())
    ]
    if source.formula is not None:
        samples = [replace(sample, labels=sites | sample.labels) for sample in samples if (sites := _sites(sample))]
    return samples if source.agree is None else agreeing(samples, *source.agree)


def _sites(sample: Sample) -> Record:
    """Return the site columns of a sample with a formula ABX3; empty for other formulas."""
    found = _ABX3.fullmatch(str(sample.labels.get("formula", "")))
    return {} if found is None else {"A": found[1], "B": found[2], "X": [found[3]] * 3}
