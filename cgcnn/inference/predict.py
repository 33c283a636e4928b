"""Predict crystals with a trained model, in their order; one that cannot be predicted is a failure with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason
from cgcnn.elements import SYMBOLS
from cgcnn.files import write_csv
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.models.card import read_card
from cgcnn.network.numpy_kernel import FastModel, load_fast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cgcnn.data.sample import Entry
    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.models.card import Card
    from cgcnn.models.model import Estimate, Model

    Predictor = Model | FastModel

EDGES_AT_ONCE = 50_000  # a batch; bounds memory, whatever the size of the crystals


@dataclass(frozen=True)
class Predictions:
    """What a model says of n crystals.

    Attributes:
        estimates: For every target the mean and deviation over the members, (n,) float32 each; NaN for failures.
        failures: Position → reason.
        strangers: Positions of crystals with an element that the training did not have, or not on this site.
    """

    estimates: dict[str, Estimate]
    failures: dict[int, str]
    strangers: list[int]


def load_predictor(name_or_path: str | Path) -> Predictor:
    """A model as far as predicting needs it: of structures without torch, whose import takes longer than 1,000 graphs.

    Raises:
        UserError: As `cgcnn.models.model.load` does.
    """
    if read_card(name_or_path).input == "structure":
        return load_fast(name_or_path)
    from cgcnn.models.model import load  # noqa: PLC0415  # torch

    return load(name_or_path)


def predict_entries(model: Predictor, entries: Sequence[Entry], builder: Builder | None = None) -> Predictions:
    """Predict crystals, in their order.

    Prototype models read the site columns (A, B, X), or where there are none which element of the crystal is on which
    site, and nothing else; structure models read the crystals.

    Args:
        model: A trained model; of structures, it may be a `FastModel`.
        entries: From `cgcnn.data.read.read`.
        builder: How to build graphs, by the model's `Rule`; by default in this process, without a cache.
    """
    if not isinstance(model, FastModel) and model.card.input == "prototype":
        return _predict_compositions(model, entries)
    graphs = usable(model, (builder or Builder(Rule.of(model.settings))).build(entries))
    failures = {i: graph for i, graph in enumerate(graphs) if isinstance(graph, str)}
    good = [graph for graph in graphs if not isinstance(graph, str)]
    rows = np.setdiff1d(np.arange(len(entries)), np.array(list(failures), dtype=np.int64))
    strange = rows[~in_training(model.card, [graph.numbers for graph in good])].tolist()
    return _spread(model, [(rows, predict_graphs(model, good))] if good else [], failures, len(entries), strange)


def in_training(card: Card, crystals: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """(n,) whether all elements of crystals were in the training of a model of structures, as far as its card knows.

    Args:
        card: Of the model.
        crystals: Atomic numbers of each crystal.
    """
    known = np.isin(SYMBOLS, card.elements or SYMBOLS)  # (101,)
    return np.array([known[numbers].all() for numbers in crystals], dtype=np.bool_)


def usable(model: Predictor, graphs: Sequence[CrystalGraph | str]) -> list[CrystalGraph | str]:
    """The graphs, or the reason why there is none or why the model's element features are not enough for it."""
    covered = model.covered
    return [graph if isinstance(graph, str) else _covered(graph, covered) for graph in graphs]


def predict_graphs(model: Predictor, graphs: Sequence[CrystalGraph]) -> dict[str, Estimate]:
    """Predict at least one graph of those that are `usable`, in batches whose memory is bounded.

    The batches follow from the graphs alone, so that equal calls give equal bits.
    """
    parts = [model.predict_graphs(part) for part in _batches(graphs)]
    return {
        name: (np.concatenate([p[name][0] for p in parts]), np.concatenate([p[name][1] for p in parts]))
        for name in model.settings.targets
    }


def _predict_compositions(model: Model, entries: Sequence[Entry]) -> Predictions:
    prototypes = [PROTOTYPES[name] for name in model.card.prototypes]
    found = [composition_or_reason(entry.labels, prototypes) for entry in entries]
    failures = {i: reason for i, reason in enumerate(found) if isinstance(reason, str)}
    compositions = {i: row for i, row in enumerate(found) if isinstance(row, Composition)}
    parts, strange = [], []
    for position, prototype in enumerate(prototypes):
        rows = {i: row.numbers for i, row in compositions.items() if row.prototype == position}
        species = np.array(list(rows.values()), dtype=np.uint8).reshape(len(rows), len(prototype.sites))
        mine = model.taking(prototype.name)
        parts.append((np.array(list(rows), dtype=np.int64), mine.predict_prototype(species)))
        strange += [i for i, known in zip(rows, mine.in_domain(species), strict=True) if not known]
    return _spread(model, parts, failures, len(entries), sorted(strange))


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


def _spread(
    model: Predictor,
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
