"""Predict crystals with a trained model, in their order; one that cannot be predicted is a failure with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn import data
from cgcnn.batch import from_graphs
from cgcnn.csvfile import write_csv
from cgcnn.elements import SYMBOLS
from cgcnn.entry import from_record
from cgcnn.errors import UserError
from cgcnn.graphs import Builder, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.entry import Entry
    from cgcnn.graph import CrystalGraph
    from cgcnn.weights import Estimate, Model

EDGES_AT_ONCE = 50_000  # a batch; bounds memory, whatever the size of the crystals


@dataclass(frozen=True)
class Predictions:
    """What a model says of n crystals.

    Attributes:
        estimates: For every target the mean and deviation over the members, (n,) float32 each; NaN for failures.
        failures: Position → reason.
    """

    estimates: dict[str, Estimate]
    failures: dict[int, str]


def predict_entries(model: Model, entries: Sequence[Entry], builder: Builder | None = None) -> Predictions:
    """Predict crystals, in their order.

    Prototype models read the site columns (A, B, X), and nothing else; structure models read the crystals.

    Args:
        model: A trained model.
        entries: From `cgcnn.readers.read`.
        builder: How to build graphs, by the model's `Rule`; by default in this process, without a cache.
    """
    if model.card.input == "prototype":
        return _predict_compositions(model, entries)
    graphs = usable(model, (builder or Builder(Rule.of(model.settings))).build(entries))
    failures = {i: graph for i, graph in enumerate(graphs) if isinstance(graph, str)}
    good = [graph for graph in graphs if not isinstance(graph, str)]
    return _spread(model, predict_graphs(model, good) if good else {}, failures, len(entries))


def usable(model: Model, graphs: Sequence[CrystalGraph | str]) -> list[CrystalGraph | str]:
    """The graphs, or the reason why there is none or why the model's element features are not enough for it."""
    covered = ~np.isnan(model.members[0].element_features.cpu().numpy()).any(axis=1)  # (101,)
    return [graph if isinstance(graph, str) else _covered(graph, covered) for graph in graphs]


def predict_graphs(model: Model, graphs: Sequence[CrystalGraph]) -> dict[str, Estimate]:
    """Predict at least one graph of those that are `usable`, in batches whose memory is bounded.

    The batches follow from the graphs alone, so that equal calls give equal bits.
    """
    parts = [model.predict(from_graphs(part)) for part in _batches(graphs)]
    return {
        name: (np.concatenate([p[name][0] for p in parts]), np.concatenate([p[name][1] for p in parts]))
        for name in model.settings.targets
    }


def predict_records(model: Model, records: Sequence[data.Record]) -> dict[str, Estimate]:
    """As `predict_entries`, of records that must all be predictable.

    Raises:
        UserError: A record does not hold what the model reads.
    """
    predictions = predict_entries(model, [from_record(record, i) for i, record in enumerate(records)])
    for position, reason in predictions.failures.items():
        raise UserError(f"record {data.record_id(records[position], position)}: {reason}")
    return predictions.estimates


def _predict_compositions(model: Model, entries: Sequence[Entry]) -> Predictions:
    rows: list[list[int]] = []
    failures: dict[int, str] = {}
    for i, entry in enumerate(entries):
        try:
            rows.append(data.site_numbers(entry.labels, model.prototype))
        except UserError as error:
            failures[i] = str(error)
    species = np.array(rows, dtype=np.uint8).reshape(len(rows), len(model.prototype.sites))
    return _spread(model, model.predict_prototype(species), failures, len(entries))


def _covered(graph: CrystalGraph, covered: NDArray[np.bool_]) -> CrystalGraph | str:
    """The graph, or the reason why the model's element features are not enough for it."""
    lacking = graph.numbers[~covered[graph.numbers]]
    return f"the model has no features of the element {SYMBOLS[lacking[0]]}" if len(lacking) else graph


def _batches(graphs: Sequence[CrystalGraph]) -> Iterator[Sequence[CrystalGraph]]:
    """Runs of graphs with at most `EDGES_AT_ONCE` edges together, or one graph."""
    start, edges = 0, 0
    for i, graph in enumerate(graphs):
        edges += len(graph.source)
        if edges > EDGES_AT_ONCE and i > start:
            yield graphs[start:i]
            start, edges = i, len(graph.source)
    if graphs:
        yield graphs[start:]


def _spread(model: Model, found: dict[str, Estimate], failures: dict[int, str], n: int) -> Predictions:
    """Estimates of the good crystals put at their positions among all."""
    good = np.setdiff1d(np.arange(n), np.array(list(failures), dtype=np.int64))
    estimates: dict[str, Estimate] = {}
    for name in model.settings.targets:
        mean, std = np.full(n, np.nan, dtype=np.float32), np.full(n, np.nan, dtype=np.float32)
        if found:
            mean[good], std[good] = found[name]
        estimates[name] = (mean, std)
    return Predictions(estimates, failures)


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


def failures_path(path: Path) -> Path:
    """Where the reasons of failures go: beside the predictions, ``OUT.failures.csv``."""
    return path.with_name(path.stem + ".failures.csv")


def write_failures(path: Path, ids: Sequence[str], failures: dict[int, str]) -> None:
    """Write ``id,reason``, one row a failure; without failures, an older file is removed.

    Raises:
        UserError: The file cannot be written.
    """
    if failures:
        write_csv(path, ["id", "reason"], ((ids[i], reason) for i, reason in sorted(failures.items())))
    else:
        path.unlink(missing_ok=True)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.7g}"
