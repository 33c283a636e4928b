"""What happens to one block of candidates: decode, filter, predict. It knows nothing of Dask or Zarr."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screening import chemistry, filters
from screening.status import Status

if TYPE_CHECKING:
    from cgcnn.weights import Model
    from screening.plan import Plan

BATCH = 512
"""Candidates that the model sees at once. Batches start at absolute multiples of this, never at the edges of a
block, so that a candidate meets the same neighbours in its batch, and gets the same bits, whatever the blocks."""

STABLE_AT = 0.05
"""Energy above hull, in eV/atom, up to which `p_stable` calls a candidate stable."""


@dataclass(frozen=True)
class Block:
    """Consecutive candidates [start, stop) of a space: the unit of work, of storage and of commitment."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class BlockResult:
    """The rows of a block.

    Attributes:
        block: which.
        columns: column name -> array whose first axis has `stop - start` entries.
        failures: index of each candidate that failed -> the reason.
    """

    block: Block
    columns: dict[str, np.ndarray]
    failures: dict[int, str]


def score_block(plan: "Plan", model: "Model", block: Block) -> BlockResult:
    """Decode, filter and predict the candidates of one block; it starts at a multiple of `BATCH`."""
    rows = sift(plan, model, block.start, block.stop)
    for first in range(0, block.stop - block.start, BATCH):
        _predict_batch(model, {name: values[first : first + BATCH] for name, values in rows.items()})
    failed = np.flatnonzero(rows["status"] == Status.FAILED) + block.start
    return BlockResult(block, rows, dict.fromkeys(failed.tolist(), "the prediction is not a finite number"))


def failed_block(plan: "Plan", block: Block, reason: str) -> BlockResult:
    """The rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    species = plan.space.decode(block.start, block.stop)
    rows = _without_prediction(species, chemistry.columns(species))
    status = np.full(len(species), Status.FAILED, dtype=np.uint8)
    return BlockResult(block, rows | {"status": status}, dict.fromkeys(range(block.start, block.stop), reason))


def sift(plan: "Plan", model: "Model", start: int, stop: int) -> dict[str, np.ndarray]:
    """The rows of candidates [start, stop) as the filters leave them: `status` is there, no prediction yet."""
    species = plan.space.decode(start, stop)  # (n, n_sites)
    rows = _without_prediction(species, chemistry.columns(species))
    rows |= {"in_domain": model.in_domain(species), "known": model.known(species)}
    return rows | {"status": filters.apply(plan.filters, rows)}


def _predict_batch(model: "Model", rows: dict[str, np.ndarray]) -> None:
    """Fill in what the model says of the candidates that passed the filters; the arrays are views of the block's."""
    kept = np.flatnonzero(rows["status"] == Status.OK)
    if len(kept):
        for name, values in _predict(model, rows["species"][kept]).items():
            rows[name][kept] = values
        rows["status"][kept[~np.isfinite(rows["e_above_hull"][kept])]] = Status.FAILED


def _without_prediction(species: np.ndarray, described: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    n = len(species)
    predicted = ("e_above_hull", "e_above_hull_std", "p_stable", "a_angstrom")
    empty = {name: np.full(n, np.nan, dtype=np.float32) for name in predicted}
    flags = {name: np.zeros(n, dtype=bool) for name in ("in_domain", "known")}
    return {"species": species, **empty, **flags, **described}


def _predict(model: "Model", species: np.ndarray) -> dict[str, np.ndarray]:
    targets = model.predict_prototype(species)
    energy, spread = targets["e_above_hull"]
    return {
        "e_above_hull": energy,
        "e_above_hull_std": spread,
        "p_stable": stable_probability(energy, spread),
        "a_angstrom": targets["a"][0],
    }


def stable_probability(energy: np.ndarray, spread: np.ndarray, threshold: float = STABLE_AT) -> np.ndarray:
    """P(energy above hull <= threshold), for a normal distribution of the given mean and standard deviation.

    Args:
        energy: (n,) mean energy above hull, eV/atom.
        spread: (n,) its standard deviation, eV/atom.
        threshold: eV/atom.

    Returns:
        (n,) float32 probabilities.
    """
    import torch  # noqa: PLC0415 -- block.py is imported where torch is not needed

    distance = (threshold - energy.astype(np.float64)) / np.maximum(spread.astype(np.float64), 1e-6)
    probability: np.ndarray = torch.special.ndtr(torch.from_numpy(distance)).numpy().astype(np.float32)
    return probability
