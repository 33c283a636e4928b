"""Predict crystals with a trained model, in their order.

A crystal that cannot be predicted is a failure with a reason. `predict` is the function of the Python interface: files
and pymatgen structures in, a pandas table out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.data.composition import Composition, composition_or_reason
from cgcnn.data.read import read, stream
from cgcnn.data.samples import Sample
from cgcnn.elements import SYMBOLS
from cgcnn.errors import UserError
from cgcnn.files import write_csv
from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.prototype import PROTOTYPES
from cgcnn.machine import cores
from cgcnn.models.deviations import IMPOSSIBLE
from cgcnn.models.files import load
from cgcnn.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from pymatgen.core.structure import Structure

    from cgcnn.graphs.graph import CrystalGraph
    from cgcnn.models.model import Estimate


BATCH = 64  # crystals; see `batches`


@dataclass(frozen=True)
class Predictions:
    """Predictions for n crystals.

    Attributes:
        estimates: The mean and the standard deviation of every target, (n,) float32 each; NaN for failures.
        failures: Position → reason.
        out_of_domain: Positions of crystals unlike those of the training: an element is new, or new on its site, or the
            structure is.
    """

    estimates: dict[str, Estimate]
    failures: dict[int, str]
    out_of_domain: list[int]


def predict_samples(model: Model, samples: Sequence[Sample], builder: Builder | None = None) -> Predictions:
    """Predict crystals, in their order.

    Models of structures read the crystals. Models of prototypes read the site columns (A, B, X), or failing these,
    which element of the crystal is on which site, and nothing else.

    Args:
        model: A trained model.
        samples: Samples from `cgcnn.data.read.read`.
        builder: Builds graphs by the model's `Rule`; by default in this process, without a cache.
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
    """Yield the batches of crystals at ascending positions (k,) of a data set, as [start, stop) of the k.

    A batch holds the crystals among `BATCH` consecutive positions, counted from multiples of it. The last bits of a
    prediction may depend on its batch. All commands form the same batches of the same data, so they give the same bits.
    """
    starts = np.flatnonzero(np.diff(positions // BATCH, prepend=-1))
    yield from pairwise([*starts.tolist(), len(positions)])


def in_domain(model: Model, graphs: GraphBatch) -> NDArray[np.bool_]:
    """Return whether crystals are like those of the training in elements and structure, (n,), as far as known."""
    trained = np.isin(SYMBOLS, model.card.elements or SYMBOLS)  # (101,)
    untrained = np.bincount(graphs.graph, weights=~trained[graphs.numbers], minlength=len(graphs))
    unlike = model.structural_distance(graphs) > 1  # NaN where not known
    return np.asarray((untrained == 0) & ~unlike)


def usable(model: Model, graphs: Sequence[CrystalGraph | str]) -> list[CrystalGraph | str]:
    """Replace graphs with an element that the model has no features for by that reason."""

    def checked(graph: CrystalGraph) -> CrystalGraph | str:
        lacking = graph.numbers[~model.covered[graph.numbers]]
        return f"the model has no features of the element {SYMBOLS[lacking[0]]}" if len(lacking) else graph

    return [graph if isinstance(graph, str) else checked(graph) for graph in graphs]


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


def _spread(
    model: Model,
    parts: Sequence[tuple[NDArray[np.int64], dict[str, Estimate]]],
    failures: dict[int, str],
    n: int,
    out_of_domain: list[int],
) -> Predictions:
    """Put the estimates of parts of the crystals at their positions among all."""
    estimates: dict[str, Estimate] = {}
    for name in model.settings.targets:
        mean, std = np.full(n, np.nan, dtype=np.float32), np.full(n, np.nan, dtype=np.float32)
        for rows, found in parts:
            mean[rows], std[rows] = found[name]
            failures |= dict.fromkeys(rows[np.isnan(found[name][0])].tolist(), IMPOSSIBLE)
        estimates[name] = (mean, std)
    return Predictions(estimates, failures, out_of_domain)


def summary(ids: Sequence[str], failures: dict[int, str]) -> str:
    """Say how many of the crystals failed, and the first reason; empty without failures."""
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


def predict(
    items: str | Path | Structure | Iterable[str | Path | Structure],
    model: Model | str | Path,
    *,
    workers: int | None = None,
    cache: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> pd.DataFrame:
    """Predict crystals, in their order.

    Args:
        items: One or several files and directories in any format of `cgcnn.data.formats`, or pymatgen structures.
        model: A model, the name of a shipped one, or a path.
        workers: Number of processes that build graphs; None uses all cores once that is worth it.
        cache: Folder that keeps built graphs; None keeps none.
        progress: Called with the number of graphs built so far and the number to build.

    Returns:
        One row per crystal: ``id``; each target in its unit with its standard deviation (``gap``, ``gap_std``);
        ``in_domain``, whether the crystal is like those of the training; and ``reason``, why there is no prediction.
        Units are in ``attrs["units"]``.

    Raises:
        UserError: The model or a path does not exist, or a path holds no crystals. A crystal that cannot be predicted
            is no error but a row with a reason.
    """
    import pandas as pd

    chosen = model if isinstance(model, Model) else load(model)
    samples = _samples(items)
    builder = Builder(Rule.of(chosen.settings), workers or cores(), Path(cache) if cache else None, progress)
    found = predict_samples(chosen, samples, builder)
    columns: dict[str, Any] = {"id": [sample.id for sample in samples]}
    for target, (mean, std) in found.estimates.items():
        columns |= {target: mean, f"{target}_std": std}
    positions = np.arange(len(samples))
    known = pd.array(~np.isin(positions, found.out_of_domain), dtype="boolean")
    known[np.isin(positions, list(found.failures))] = pd.NA
    reasons = [found.failures.get(i, "") for i in range(len(samples))]
    table = pd.DataFrame({**columns, "in_domain": known, "reason": reasons})
    table.attrs |= {"units": {target.name: target.unit for target in chosen.card.targets}, "model": chosen.card.name}
    return table


def _samples(items: str | Path | Structure | Iterable[str | Path | Structure]) -> list[Sample]:
    """Read paths together, and name structures by their positions."""
    several = items if isinstance(items, (list, tuple)) else [items] if _is_one(items) else list(items)  # type: ignore[arg-type]
    paths = [Path(item) for item in several if isinstance(item, (str, Path))]
    if len(paths) == len(several):
        return list(stream(paths))
    found: list[Sample] = []
    for i, item in enumerate(several):
        found += read(item) if isinstance(item, (str, Path)) else [_of_structure(item, str(i))]
    return found


def _is_one(items: object) -> bool:
    return isinstance(items, (str, Path)) or hasattr(items, "lattice")


def _of_structure(crystal: Structure, name: str) -> Sample:
    if not hasattr(crystal, "lattice"):
        raise UserError(f"`items` {name}: a {type(crystal).__name__}; give paths, or structures of pymatgen")
    labels: dict[str, Any] = {"id": name}
    if crystal.is_ordered:  # models of prototypes look here for what is on which site
        symbols = [site.specie.symbol for site in crystal]
        cell = [*crystal.lattice.abc, *crystal.lattice.angles]
        labels |= {"cell": cell, "species": symbols, "frac": crystal.frac_coords.tolist()}
    return Sample(name, labels, "pymatgen", json.dumps(crystal.as_dict()))
