"""Labelled samples as the rows of a table, in the form that a network is trained on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data import labels
from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason, formula_group, group, species
from cgcnn.errors import UserError
from cgcnn.files import whole_number
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.graph import CrystalGraph
from cgcnn.graphs.prototype import PROTOTYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.data.sample import Sample
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.models.domain import Domain
    from cgcnn.network.settings import Settings
    from cgcnn.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Table:
    """Labelled rows in the form that a recipe's input kind needs.

    Attributes:
        ids: Of the n rows.
        targets: (n, T) float32; NaN where missing.
        fold: (n,) int64; -1 where a row has none.
        shape: (n,) int8, each row's prototype as its position in the recipe's list, for prototype input.
        species: (n, n_sites) canonical compositions, for prototype input; 0 beyond the sites of a row's prototype.
        lattice: (n,) Å, lattice constants of the labelled crystals, for prototype input; NaN where unknown.
        graphs: N graphs, for structure input.
        bound: (n, T), where a target is only an upper bound; None where none is.
        computed: (n,) of rows whose first target was worked out from an upper bound that was computed, that bound; NaN
            of others. None where there is no such row.
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

    def rows(self, chosen: NDArray[np.bool_]) -> Table:
        """The rows where ``chosen`` (n,) is true."""
        return Table(
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
        """Positions (k,) and compositions (k, n_sites) of the rows of the recipe's ``position``-th prototype."""
        if self.shape is None or self.species is None:
            raise ValueError("crystals have no prototype")
        rows = np.flatnonzero(self.shape == position)
        return rows, self.species[rows, : len(prototype.sites)]

    def by_prototype(self, prototypes: Sequence[str]) -> list[tuple[Prototype, NDArray[np.int64], NDArray[np.uint8]]]:
        """Each of the recipe's prototypes with the positions and compositions of its rows, see `of`."""
        kinds = [PROTOTYPES[name] for name in prototypes]
        return [(kind, *self.of(position, kind)) for position, kind in enumerate(kinds)]

    @property
    def lattices(self) -> NDArray[np.float32]:
        """`lattice`, of a table that has prototypes."""
        if self.lattice is None:
            raise ValueError("crystals have no prototype")
        return self.lattice


@dataclass(frozen=True)
class Prepared:
    """A table, and what of the data is in it.

    Attributes:
        table: The usable rows.
        samples: Their samples, in the table's order.
        failures: Position among all samples → reason.
    """

    table: Table
    samples: list[Sample]
    failures: dict[int, str]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(n,) which rows of the table have a label."""
        return np.asarray(~np.isnan(self.table.targets).all(axis=1))


def prepare(samples: Sequence[Sample], recipe: TrainRecipe, builder: Builder | None = None) -> Prepared:
    """Turn samples into a table; those that cannot be used are left out with a reason.

    Raises:
        UserError: A label is not a number, one crystal is there twice where rows are split at random, or no sample is
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
        return Prepared(Table(ids, targets, fold, graphs=graphs), good, failures)
    lattice = labels.targets(records, ["a"], shapes)[:, 0]
    shape = np.array([row.prototype for row in compositions], dtype=np.int8)
    sites, bound = species(compositions, prototypes), labels.bounds(records, settings.targets)
    known = labels.computed(records, settings.targets[0])
    table = Table(ids, targets, fold, shape=shape, species=sites, lattice=lattice, bound=bound, computed=known)
    if recipe.merge:
        table, first = merge(table)
        good = [good[i] for i in first.tolist()]
    return Prepared(table, good, failures)


def _refuse_repeated(samples: Sequence[Sample]) -> None:
    """Refuse a crystal that is there twice under one id: it could be in the training and in the test.

    Raises:
        UserError: There is one.
    """
    for (name, _, _), count in Counter((sample.id, sample.form, sample.content) for sample in samples).items():
        if count > 1:
            raise UserError(
                f"crystal {name} is there {count} times and could be in the training and in the test. "
                "Leave it in once, with one label."
            )


def _group(row: CrystalGraph | Composition, prototypes: Sequence[Prototype], groups: int) -> int:
    """The group of a row's reduced formula."""
    if isinstance(row, Composition):
        return group(row, prototypes, groups)
    counts: Counter[int] = Counter()
    for number, often in zip(row.numbers.tolist(), row.multiplicity.tolist(), strict=True):
        counts[number] += often
    return formula_group(counts, groups)


def merge(table: Table) -> tuple[Table, NDArray[np.int64]]:
    """One row for each composition, in the order of their first rows, with the labels of all its rows.

    Of a label that several rows have, the least value counts, as of the lowest of several crystals; the id is that of
    the row whose first target counts.

    Returns:
        The table, and for each of its rows the first of the rows that it was made of.
    """
    if table.shape is None or table.species is None:
        raise ValueError("crystals are not merged")
    keys = np.column_stack([table.shape, table.species])
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    rank, order = np.argsort(np.argsort(first))[which.ravel()], np.sort(first)  # (n,) the new row of each old one
    least = _least(table.targets, rank, len(order))
    lattice = _least(table.lattices[:, None], rank, len(order))[:, 0]
    bound = None
    if table.bound is not None:
        counts = table.targets <= least[rank]  # (n, T) rows whose value is the least
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
    """(rows,) the first row of each rank (n,) of which something holds (n,), or another (rows,)."""
    found = otherwise.copy()
    rows = np.flatnonzero(holds)[::-1]  # of several the first is written last
    found[rank[rows]] = rows
    return found


def _least(values: NDArray[np.float32], rank: NDArray[np.int64], rows: int) -> NDArray[np.float32]:
    """(rows, T) the least of the values (n, T) of each rank (n,); NaN where there is none."""
    least = np.full((rows, values.shape[1]), np.inf, dtype=np.float32)
    np.minimum.at(least, rank, np.nan_to_num(values, nan=np.inf))
    return np.where(np.isinf(least), np.float32(np.nan), least)


def inputs(table: Table, settings: Settings, prototypes: Sequence[str], domain: Domain | None) -> GraphBatch:
    """The graphs that a network sees: built from compositions for prototypes, from crystals otherwise."""
    if table.graphs is not None:
        return table.graphs
    if domain is None:
        raise ValueError("prototype input needs a domain")
    parts = table.by_prototype(prototypes)
    batches = [
        GraphBatch.of_prototype(prototype, species, domain.reference_lattice(prototype, species), settings.neighbours)
        for prototype, _, species in parts
    ]
    place = np.empty(len(table.targets), dtype=np.int64)  # of each row in the batches together
    place[np.concatenate([rows for _, rows, _ in parts])] = np.arange(len(place))
    return GraphBatch.concatenate(batches).select(place)
