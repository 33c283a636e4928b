"""Predictions from Python: files and structures of pymatgen in, a table of pandas out; nothing is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.data.read import read, stream
from cgcnn.data.sample import Sample
from cgcnn.errors import UserError
from cgcnn.inference.predict import predict_samples
from cgcnn.machine import cores
from cgcnn.models.files import load
from cgcnn.models.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd
    from pymatgen.core.structure import Structure


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
        items: Files and directories in any format of `cgcnn.data.formats`, and structures of pymatgen; one or several.
        model: A model, or the name of a shipped one, or a path.
        workers: Processes that build graphs; None for as many as there are cores, as soon as that is worth it.
        cache: Folder of built graphs; None for none.
        progress: Called with the graphs built so far and those to be built.

    Returns:
        A row a crystal: ``id``, then each target in its unit and its standard deviation (``gap``, ``gap_std``), then
        ``in_domain``, whether the training had all its elements, and ``reason``, why there is no prediction. The units
        are in ``attrs["units"]``.

    Raises:
        UserError: There is no such model or path, or a path holds no crystals. A crystal that cannot be predicted is a
            row with a reason.
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
    known = pd.array(~np.isin(positions, found.strangers), dtype="boolean")
    known[np.isin(positions, list(found.failures))] = pd.NA
    reasons = [found.failures.get(i, "") for i in range(len(samples))]
    table = pd.DataFrame({**columns, "in_domain": known, "reason": reasons})
    table.attrs |= {"units": {target.name: target.unit for target in chosen.card.targets}, "model": chosen.card.name}
    return table


def _samples(items: str | Path | Structure | Iterable[str | Path | Structure]) -> list[Sample]:
    """Samples of paths, which are read together, and of structures, which are named by their positions."""
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
    if crystal.is_ordered:  # where a model of prototypes looks for what is on which site
        symbols = [site.specie.symbol for site in crystal]
        cell = [*crystal.lattice.abc, *crystal.lattice.angles]
        labels |= {"cell": cell, "species": symbols, "frac": crystal.frac_coords.tolist()}
    return Sample(name, labels, "pymatgen", json.dumps(crystal.as_dict()))
