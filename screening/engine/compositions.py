"""What happens to one block of compositions: decode, filter, predict. It knows nothing of Dask or Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screening.chemistry import descriptors as chemistry
from screening.chemistry import filters
from screening.engine.block import Block, BlockResult, stable_probability
from screening.status import Status

if TYPE_CHECKING:
    from cgcnn.models.model import Model
    from screening.plan import Plan

BATCH = 512
"""Candidates that the model sees at once. Batches start at absolute multiples of this, never at the edges of a
block, so that a candidate meets the same neighbours in its batch, and gets the same bits, whatever the blocks."""

SIFTED_AT_ONCE = 65_536
"""Candidates whose chemistry is worked out at once: bounds memory in large blocks."""


@dataclass(frozen=True)
class BuiltCompositions:
    """A block of compositions up to the prediction: some thirty bytes a candidate, made to travel between processes.

    Attributes:
        block: Which.
        rows: Column name -> array whose first axis has `stop - start` entries; without what is predicted.
        species: (k, n_sites) uint8 canonical species of the candidates that passed the filters, in order.
        lattice: (k,) float32, their lattice constants, Å. Their graphs' topology is the prototype's, and stays there.
    """

    block: Block
    rows: dict[str, np.ndarray]
    species: np.ndarray
    lattice: np.ndarray


def build(plan: Plan, model: Model, block: Block) -> BuiltCompositions:
    """Decode and filter a block, which starts at a multiple of `BATCH`, and work out the cells of what passed."""
    starts = range(block.start, block.stop, SIFTED_AT_ONCE)
    parts = [_sifted(plan, model, start, min(start + SIFTED_AT_ONCE, block.stop)) for start in starts]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    species, lattice = model.cells(rows["species"][rows["status"] == Status.OK])
    return BuiltCompositions(block, rows, species, lattice)


def infer(plan: Plan, model: Model, built: BuiltCompositions) -> BlockResult:
    """Make the graphs of the cells and predict, `BATCH` by `BATCH`."""
    rows = _without_prediction(built.rows) | {"status": built.rows["status"].copy()}  # what travelled is read-only
    done = 0
    for first in range(0, len(rows["status"]), BATCH):
        batch = {name: values[first : first + BATCH] for name, values in rows.items()}  # views of the block's arrays
        kept = np.flatnonzero(batch["status"] == Status.OK)
        if len(kept):
            cells = slice(done, done + len(kept))
            _fill_in(batch, kept, _predict(plan, model, built.species[cells], built.lattice[cells]))
            done += len(kept)
    failed = np.flatnonzero(rows["status"] == Status.FAILED) + built.block.start
    return BlockResult(built.block, rows, dict.fromkeys(failed.tolist(), "the prediction is not a finite number"))


def failed(plan: Plan, block: Block, reason: str) -> BlockResult:
    """The rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    species = plan.decode(block.start, block.stop)
    flags = {name: np.zeros(len(species), dtype=bool) for name in ("in_domain", "known")}
    distance = {"domain_distance": np.full(len(species), np.nan, dtype=np.float32)}
    rows = _without_prediction({"species": species, **chemistry.columns(species, plan.prototype), **flags, **distance})
    status = np.full(len(species), Status.FAILED, dtype=np.uint8)
    return BlockResult(block, rows | {"status": status}, dict.fromkeys(range(block.start, block.stop), reason))


def sift(plan: Plan, model: Model, start: int, stop: int) -> dict[str, np.ndarray]:
    """The rows of candidates [start, stop) as the filters leave them: `status` is there, no prediction yet."""
    return _without_prediction(_sifted(plan, model, start, stop))


def _sifted(plan: Plan, model: Model, start: int, stop: int) -> dict[str, np.ndarray]:
    species = plan.decode(start, stop)  # (n, n_sites)
    flags = {"in_domain": model.in_domain(species), "known": model.known(species)}
    distance = {"domain_distance": model.domain_distance(species)}
    rows = {"species": species, **chemistry.columns(species, plan.prototype), **flags, **distance}
    return rows | {"status": filters.apply(plan.filters, rows)}


def _fill_in(rows: dict[str, np.ndarray], kept: np.ndarray, predicted: dict[str, np.ndarray]) -> None:
    """Put into the rows what the model says of those kept."""
    for name, values in predicted.items():
        rows[name][kept] = values
    rows["status"][kept[~np.isfinite(rows["e_above_hull"][kept])]] = Status.FAILED


def _without_prediction(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows with columns for what is yet to be predicted."""
    predicted = ("e_above_hull", "e_above_hull_std", "p_stable", "a_angstrom")
    empty = {name: np.full(len(rows["species"]), np.nan, dtype=np.float32) for name in predicted}
    return {**rows, **empty}


def _predict(plan: Plan, model: Model, species: np.ndarray, lattice: np.ndarray) -> dict[str, np.ndarray]:
    targets = model.predict_cells(species, lattice)
    energy, spread = targets["e_above_hull"]
    return {
        "e_above_hull": energy,
        "e_above_hull_std": spread,
        "p_stable": stable_probability(energy, spread, plan.stable_at),
        "a_angstrom": targets["a"][0],
    }
