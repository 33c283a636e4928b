"""Predict crystals with a trained model, in their order; one that cannot be predicted is a failure with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason
from cgcnn.elements import SYMBOLS
from cgcnn.files import write_csv
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.spread import IMPOSSIBLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.sample import Sample
    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.models.model import Estimate, Model

BATCH = 64  # crystals; see `batches`


@dataclass(frozen=True)
class Predictions:
    """What a model says of n crystals.

    Attributes:
        estimates: For every target the mean and deviation over the members, (n,) float32 each; NaN for failures.
        failures: Position → reason.
        strangers: Positions of crystals with an element that the training did not have, or not on this site, or of a
            structure unlike those of the training.
    """

    estimates: dict[str, Estimate]
    failures: dict[int, str]
    strangers: list[int]


def predict_samples(model: Model, samples: Sequence[Sample], builder: Builder | None = None) -> Predictions:
    """Predict crystals, in their order.

    Prototype models read the site columns (A, B, X), or where there are none which element of the crystal is on which
    site, and nothing else; structure models read the crystals.

    Args:
        model: A trained model.
        samples: From `cgcnn.data.read.read`.
        builder: How to build graphs, by the model's `Rule`; by default in this process, without a cache.
    """
    if model.card.input == "prototype":
        return _predict_compositions(model, samples)
    graphs = usable(model, (builder or Builder(Rule.of(model.settings))).build(samples))
    failures = {i: graph for i, graph in enumerate(graphs) if isinstance(graph, str)}
    good = [graph for graph in graphs if not isinstance(graph, str)]
    rows = np.setdiff1d(np.arange(len(samples)), np.array(list(failures), dtype=np.int64))
    batch = GraphBatch.of_graphs(good)
    parts, known = [], [np.empty(0, dtype=np.bool_)]
    for start, stop in batches(rows):
        some = batch.part(start, stop)
        parts.append((rows[start:stop], model.predict(some)))
        known.append(in_domain(model, some))
    return _spread(model, parts, failures, len(samples), rows[~np.concatenate(known)].tolist())


def batches(positions: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """What is predicted together of crystals at ascending positions (k,) of a data set, as [start, stop) of the k.

    These are `BATCH` consecutive positions, from multiples of it on, as far as there are such crystals. The last bits
    of a prediction may depend on what else is in its batch; as all commands take the same batches of the same data,
    they give the same bits.
    """
    starts = np.flatnonzero(np.diff(positions // BATCH, prepend=-1))
    yield from pairwise([*starts.tolist(), len(positions)])


def in_domain(model: Model, graphs: GraphBatch) -> NDArray[np.bool_]:
    """(n,) whether crystals are like those of the training, as far as the model knows: elements and structure."""
    trained = np.isin(SYMBOLS, model.card.elements or SYMBOLS)  # (101,)
    foreign = np.bincount(graphs.graph, weights=~trained[graphs.numbers], minlength=len(graphs))
    unlike = model.structural_distance(graphs) > 1  # NaN where not known
    return np.asarray((foreign == 0) & ~unlike)


def usable(model: Model, graphs: Sequence[CrystalGraph | str]) -> list[CrystalGraph | str]:
    """The graphs, or the reason why there is none or why the model's element features are not enough for it."""
    covered = model.covered
    return [graph if isinstance(graph, str) else _covered(graph, covered) for graph in graphs]


def _predict_compositions(model: Model, samples: Sequence[Sample]) -> Predictions:
    prototypes = [PROTOTYPES[name] for name in model.card.prototypes]
    found = [composition_or_reason(sample.labels, prototypes) for sample in samples]
    failures = {i: reason for i, reason in enumerate(found) if isinstance(reason, str)}
    compositions = {i: row for i, row in enumerate(found) if isinstance(row, Composition)}
    parts, strange = [], []
    for position, prototype in enumerate(prototypes):
        rows = {i: row.numbers for i, row in compositions.items() if row.prototype == position}
        species = np.array(list(rows.values()), dtype=np.uint8).reshape(len(rows), len(prototype.sites))
        mine = model.on(prototype.name)
        parts.append((np.array(list(rows), dtype=np.int64), mine.predict(species)))
        strange += [i for i, known in zip(rows, mine.in_domain(species), strict=True) if not known]
    return _spread(model, parts, failures, len(samples), sorted(strange))


def _covered(graph: CrystalGraph, covered: NDArray[np.bool_]) -> CrystalGraph | str:
    """The graph, or the reason why the model's element features are not enough for it."""
    lacking = graph.numbers[~covered[graph.numbers]]
    return f"the model has no features of the element {SYMBOLS[lacking[0]]}" if len(lacking) else graph


def _spread(
    model: Model,
    parts: Sequence[tuple[NDArray[np.int64], dict[str, Estimate]]],
    failures: dict[int, str],
    n: int,
    strangers: list[int],
) -> Predictions:
    """Estimates of parts of the crystals put at their positions among all."""
    estimates: dict[str, Estimate] = {}
    for name in model.settings.targets:
        mean, std = np.full(n, np.nan, dtype=np.float32), np.full(n, np.nan, dtype=np.float32)
        for rows, found in parts:
            mean[rows], std[rows] = found[name]
            failures |= dict.fromkeys(rows[np.isnan(found[name][0])].tolist(), IMPOSSIBLE)
        estimates[name] = (mean, std)
    return Predictions(estimates, failures, strangers)


def summary(ids: Sequence[str], failures: dict[int, str]) -> str:
    """How many of the crystals failed, and the first reason; empty without failures."""
    if not failures:
        return ""
    first = min(failures)
    return f"{len(failures)} of {len(ids)} crystals failed; the first is {ids[first]}: {failures[first]}"


def write_predictions(path: Path, ids: Sequence[str], estimate: Estimate, *, spread: bool) -> None:
    """Write ``id,prediction[,std]``, one row a crystal, empty for a failure; the file appears whole or not at all.

    Raises:
        UserError: The file cannot be written.
    """
    header = ["id", "prediction", "std"] if spread else ["id", "prediction"]
    columns = [[_number(value) for value in values] for values in (estimate if spread else estimate[:1])]
    write_csv(path, header, zip(ids, *columns, strict=True))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
