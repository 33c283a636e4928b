"""What happens to one block of candidates: decode, filter, predict. It knows nothing of Dask or Zarr."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screening import chemistry, filters
from screening.status import Status

if TYPE_CHECKING:
    from cgcnn.weights import Model
    from screening.plan import Plan

BATCH = 1024
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
    """The rows of a block: column name -> array whose first axis has `stop - start` entries."""

    block: Block
    columns: dict[str, np.ndarray]


def score_block(plan: "Plan", model: "Model", block: Block) -> BlockResult:
    """Decode, filter and predict the candidates of one block."""
    starts = range(block.start, block.stop, BATCH)
    batches = [_score_batch(plan, model, start, min(start + BATCH, block.stop)) for start in starts]
    return BlockResult(block, {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]})


def failed_block(plan: "Plan", block: Block) -> BlockResult:
    """The rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    species = plan.space.decode(block.start, block.stop)
    rows = _without_prediction(species, chemistry.columns(species))
    return BlockResult(block, rows | {"status": np.full(len(species), Status.FAILED, dtype=np.uint8)})


def _score_batch(plan: "Plan", model: "Model", start: int, stop: int) -> dict[str, np.ndarray]:
    species = plan.space.decode(start, stop)  # (n, n_sites)
    rows = _without_prediction(species, chemistry.columns(species))
    rows["in_domain"] = model.in_domain(species)
    rows["known"] = model.known(species)
    status = filters.apply(plan.filters, rows)
    kept = np.flatnonzero(status == Status.OK)
    if len(kept):
        for name, values in _predict(model, species[kept]).items():
            rows[name][kept] = values
        broken = kept[~np.isfinite(rows["e_above_hull"][kept])]
        status[broken] = Status.FAILED
    return rows | {"status": status}


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
    return torch.special.ndtr(torch.from_numpy(distance)).numpy().astype(np.float32)
