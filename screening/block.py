"""What happens to one block of candidates: decode, filter, predict. It knows nothing of Dask or Zarr."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from screening import chemistry, filters
from screening.status import Status
from screening.structures import Structures

if TYPE_CHECKING:
    from cgcnn.weights import Model
    from screening.plan import Plan
    from screening.structure_block import BuiltStructures

BATCH = 512
"""Candidates that the model sees at once. Batches start at absolute multiples of this, never at the edges of a
block, so that a candidate meets the same neighbours in its batch, and gets the same bits, whatever the blocks."""

SIFTED_AT_ONCE = 65_536
"""Candidates whose chemistry is worked out at once: bounds memory in large blocks."""


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


@dataclass(frozen=True)
class BuiltBlock:
    """A block up to the prediction: some thirty bytes a candidate, made to travel from one process to another.

    Attributes:
        block: which.
        rows: column name -> array whose first axis has `stop - start` entries; without what is predicted.
        species: (k, n_sites) uint8 canonical species of the candidates that passed the filters, in order.
        lattice: (k,) float32, their lattice constants, Å. Their graphs' topology is the prototype's, and stays there.
    """

    block: Block
    rows: dict[str, np.ndarray]
    species: np.ndarray
    lattice: np.ndarray


def load_model(plan: "Plan") -> "Model":
    """The model of a plan, for the candidates that the plan has.

    Raises:
        UserError: it cannot be read.
    """
    from cgcnn.weights import load  # noqa: PLC0415 -- imports torch

    model = load(plan.model.path)
    return model if isinstance(plan.space, Structures) else model.taking(plan.prototype.name)


def score_block(plan: "Plan", model: "Model", block: Block) -> BlockResult:
    """Decode, filter and predict the candidates of one block; it starts at a multiple of `BATCH`."""
    return infer_block(plan, model, build_block(plan, model, block))


def build_block(plan: "Plan", model: "Model", block: Block) -> "BuiltBlock | BuiltStructures":
    """The first half of `score_block`: decode and filter, and work out the cells of what passed.

    Of structures: parse them and make their graphs.
    """
    if isinstance(plan.space, Structures):
        from screening import structure_block  # noqa: PLC0415 -- imports torch, as the model did

        return structure_block.build(plan.space, model, block)
    starts = range(block.start, block.stop, SIFTED_AT_ONCE)
    parts = [_sifted(plan, model, start, min(start + SIFTED_AT_ONCE, block.stop)) for start in starts]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    species, lattice = model.cells(rows["species"][rows["status"] == Status.OK])
    return BuiltBlock(block, rows, species, lattice)


def infer_block(plan: "Plan", model: "Model", built: "BuiltBlock | BuiltStructures") -> BlockResult:
    """The second half of `score_block`: make the graphs of the cells and predict, `BATCH` by `BATCH`."""
    if not isinstance(built, BuiltBlock):
        from screening import structure_block  # noqa: PLC0415 -- imports torch, as the model did

        return structure_block.infer(plan.stable_at, model, built)
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


def failed_block(plan: "Plan", block: Block, reason: str) -> BlockResult:
    """The rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    if isinstance(plan.space, Structures):
        from screening import structure_block  # noqa: PLC0415 -- imports torch; the client does without

        return structure_block.failed(plan.space, block, reason)
    species = plan.decode(block.start, block.stop)
    flags = {name: np.zeros(len(species), dtype=bool) for name in ("in_domain", "known")}
    distance = {"domain_distance": np.full(len(species), np.nan, dtype=np.float32)}
    rows = _without_prediction({"species": species, **chemistry.columns(species, plan.prototype), **flags, **distance})
    status = np.full(len(species), Status.FAILED, dtype=np.uint8)
    return BlockResult(block, rows | {"status": status}, dict.fromkeys(range(block.start, block.stop), reason))


def sift(plan: "Plan", model: "Model", start: int, stop: int) -> dict[str, np.ndarray]:
    """The rows of candidates [start, stop) as the filters leave them: `status` is there, no prediction yet."""
    if isinstance(plan.space, Structures):
        from screening import structure_block  # noqa: PLC0415 -- imports torch, as the model did

        return structure_block.sift(plan.space, model, start, stop)
    return _without_prediction(_sifted(plan, model, start, stop))


def _sifted(plan: "Plan", model: "Model", start: int, stop: int) -> dict[str, np.ndarray]:
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


def _predict(plan: "Plan", model: "Model", species: np.ndarray, lattice: np.ndarray) -> dict[str, np.ndarray]:
    targets = model.predict_cells(species, lattice)
    energy, spread = targets["e_above_hull"]
    return {
        "e_above_hull": energy,
        "e_above_hull_std": spread,
        "p_stable": stable_probability(energy, spread, plan.stable_at),
        "a_angstrom": targets["a"][0],
    }


def stable_probability(energy: np.ndarray, spread: np.ndarray, threshold: float) -> np.ndarray:
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
