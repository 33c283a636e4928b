"""What happens to one block of compositions: decode, filter, predict. It knows nothing of Dask or Zarr."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.models.deviations import IMPOSSIBLE
from screening.candidates.compositions import BATCH
from screening.chemistry import descriptors as chemistry
from screening.chemistry import filters
from screening.chemistry.perovskite_probability import ENERGIES, p_perovskite
from screening.engine.block import Block, BlockResult, stable_probability
from screening.status import Status

if TYPE_CHECKING:
    from cgcnn.models.model import PrototypeModel
    from screening.candidates.compositions import Compositions
    from screening.plan import Plan


FLAGS = ("in_domain", "in_training", "known_is_bound")
"""Columns that say yes or no of what the model was trained on."""

FURTHER = ("e_above_hull_cubic", "p_tilted", "band_gap", "p_leaves", "e_if_stays", "e_if_leaves")
"""Columns of targets that not every model has."""

DEVIATIONS = {"band_gap_std": "band_gap"}
"""Columns of standard deviations → their targets, which not every model has."""


@dataclass(frozen=True)
class BuiltCompositions:
    """A block of compositions up to the prediction: some fifty bytes a candidate, made to travel between processes.

    Attributes:
        block: Which.
        rows: Column name -> array whose first axis has `stop - start` entries; without what is predicted.
        species: (k, n_sites) uint8 canonical species of the candidates that passed the filters, in order.
        lattice: (k,) float32, their lattice constants, Å. Their graphs' topology is the prototype's, and stays there.
        unusable: Index of each row that is no candidate -> the reason.
    """

    block: Block
    rows: dict[str, np.ndarray]
    species: np.ndarray
    lattice: np.ndarray
    unusable: dict[int, str]


def load(plan: Plan[Compositions]) -> PrototypeModel:
    """Load the model of a plan, for its prototype.

    Raises:
        UserError: It cannot be read.
    """
    from cgcnn.models.files import load as read

    return read(plan.model.path).on(plan.candidates.prototype)


def build(plan: Plan[Compositions], model: PrototypeModel, block: Block) -> BuiltCompositions:
    """Decode and filter a block, which starts at a multiple of `BATCH`, and work out the cells of what passed."""
    step = plan.candidates.grain.sifted
    starts = range(block.start, block.stop, step)
    parts = [_sifted(plan, model, start, min(start + step, block.stop)) for start in starts]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = np.flatnonzero(rows["status"] == Status.OK)
    species, lattice = model.cells(rows["species"][kept])
    if plan.cascade is not None and len(kept):
        passed = plan.cascade.passes(model.prototype, species, lattice, rows["in_domain"][kept])
        rows["status"][kept[~passed]] = Status.SET_ASIDE
        species, lattice = species[passed], lattice[passed]
    return BuiltCompositions(
        block, _without_rejected(rows), species, lattice, plan.candidates.unusable(block.start, block.stop)
    )


def infer(plan: Plan[Compositions], model: PrototypeModel, built: BuiltCompositions) -> BlockResult:
    """Predict the cells, all at once where the kernel's bits allow it, and else `BATCH` by `BATCH`."""
    step = max(len(built.rows["status"]), 1) if model.kernel.independent else BATCH
    rows = _without_prediction(built.rows) | {"status": built.rows["status"].copy()}  # what travelled is read-only
    done = 0
    for first in range(0, len(rows["status"]), step):
        batch = {name: values[first : first + step] for name, values in rows.items()}  # views of the block's arrays
        kept = np.flatnonzero(batch["status"] == Status.OK)
        if len(kept):
            cells = slice(done, done + len(kept))
            predicted = _predict(plan, model, built.species[cells], built.lattice[cells])
            _fill_in(batch, kept, predicted | _judged(plan, batch, kept, predicted))
            _filter(plan, batch)
            done += len(kept)
    failed = np.flatnonzero(rows["status"] == Status.FAILED) + built.block.start
    reasons = dict.fromkeys(failed.tolist(), IMPOSSIBLE) | built.unusable
    return BlockResult(built.block, rows, reasons)


def failed(plan: Plan[Compositions], block: Block, reason: str) -> BlockResult:
    """Return the rows of a block that could not be scored: every candidate is there, with the status `failed`."""
    species = plan.candidates.decode(block.start, block.stop)
    flags = {name: np.zeros(len(species), dtype=bool) for name in FLAGS}
    unknown = np.full(len(species), np.nan, dtype=np.float32)
    distance = {"domain_distance": unknown, "known_e_above_hull": unknown}
    described = _stored(chemistry.columns(species, plan.candidates.ideal, plan.states))
    rows = _without_prediction({"species": species, **described, **flags, **distance})
    status = np.full(len(species), Status.FAILED, dtype=np.uint8)
    reasons = dict.fromkeys(range(block.start, block.stop), reason)
    return BlockResult(block, rows | {"status": status}, reasons | plan.candidates.unusable(block.start, block.stop))


def sift(plan: Plan[Compositions], model: PrototypeModel, start: int, stop: int) -> dict[str, np.ndarray]:
    """Filter candidates [start, stop): `status` is there, no prediction yet."""
    return _without_prediction(_sifted(plan, model, start, stop))


def _sifted(plan: Plan[Compositions], model: PrototypeModel, start: int, stop: int) -> dict[str, np.ndarray]:
    return sift_species(plan, model, plan.candidates.decode(start, stop))


def sift_species(plan: Plan[Compositions], model: PrototypeModel, species: np.ndarray) -> dict[str, np.ndarray]:
    """Filter any candidates as `sift` does, without columns for predictions: canonical species (n, n_sites)."""
    usable: np.ndarray = np.all(species > 0, axis=1)
    if usable.all():
        return _described(plan, model, species)
    good = _described(plan, model, species[usable])
    rows = {name: _spread(values, usable) for name, values in good.items()}
    rows["status"][~usable] = Status.FAILED
    return rows


def _described(plan: Plan[Compositions], model: PrototypeModel, species: np.ndarray) -> dict[str, np.ndarray]:
    """Describe species (n, n_sites) short of a prediction, and tell whether they pass the filters.

    The rest of the chemistry is not worked out of those that the first filters reject by their elements.
    """
    first = filters.first_of(plan.filters, chemistry.OF_ELEMENTS)
    if not first or not len(species):
        return _all_described(plan, model, species)
    status = filters.apply(first, chemistry.of_elements(species, plan.candidates.ideal))
    kept = status == Status.OK
    if kept.all():
        return _all_described(plan, model, species)
    rows = {name: _spread(values, kept) for name, values in _all_described(plan, model, species[kept]).items()}
    return rows | {"species": species, "status": np.where(kept, rows["status"], status)}


def _all_described(plan: Plan[Compositions], model: PrototypeModel, species: np.ndarray) -> dict[str, np.ndarray]:
    flags = dict(zip(FLAGS, (model.in_domain(species), model.known(species), model.known_bounds(species)), strict=True))
    distance = {
        "domain_distance": model.domain_distance(species),
        "known_e_above_hull": model.known_labels(species, "e_above_hull"),
    }
    rows = {"species": species, **chemistry.columns(species, plan.candidates.ideal, plan.states), **flags, **distance}
    return _stored(rows) | {"status": filters.apply(plan.filters, rows, predicted=False)}


def _stored(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drop the columns that only filters look at."""
    return {name: values for name, values in rows.items() if name not in chemistry.FOR_FILTERS}


def _without_rejected(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep no more than species and status of rows rejected or set aside: the rest compresses to nothing."""
    kept = rows["status"] < Status.SET_ASIDE
    if kept.all():
        return rows
    whole = {name: rows[name] for name in ("species", "status")}
    return {name: whole.get(name, _spread(values[kept], kept)) for name, values in rows.items()}


def _spread(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Spread values of the usable rows to their places (n,) among all, which else have NaN or 0."""
    empty = np.nan if values.dtype.kind == "f" else 0
    spread = np.full((len(usable), *values.shape[1:]), empty, dtype=values.dtype)
    spread[usable] = values
    return spread


def _fill_in(rows: dict[str, np.ndarray], kept: np.ndarray, predicted: dict[str, np.ndarray]) -> None:
    """Put into the rows what the model says of those kept."""
    for name, values in predicted.items():
        if name in rows:
            rows[name][kept] = values
    rows["status"][kept[~np.isfinite(rows["e_above_hull"][kept])]] = Status.FAILED


def _without_prediction(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add empty columns for what is yet to be predicted."""
    predicted = (
        "e_above_hull",
        "e_above_hull_std",
        "p_stable",
        "a_angstrom",
        "p_perovskite",
        "a_experiment",
        *FURTHER,
        *DEVIATIONS,
    )
    empty = {name: np.full(len(rows["species"]), np.nan, dtype=np.float32) for name in predicted}
    return {**rows, **empty}


def _predict(
    plan: Plan[Compositions], model: PrototypeModel, species: np.ndarray, lattice: np.ndarray
) -> dict[str, np.ndarray]:
    targets = model.predict_cells(species, lattice)
    energy, spread = targets["e_above_hull"]
    above = {target.name: target.above_experiment for target in model.card.targets}["a"]
    ratio = np.float32(above.get(plan.candidates.prototype, np.nan))
    return {
        "e_above_hull": energy,
        "e_above_hull_std": spread,
        "p_stable": stable_probability(energy, spread, plan.stable_at),
        "a_angstrom": targets["a"][0],
        "a_experiment": targets["a"][0] / ratio,
        **{name: targets[name][0] for name in (*FURTHER, *ENERGIES) if name in targets},
        **{name: targets[target][1] for name, target in DEVIATIONS.items() if target in targets},
    }


def _judged(
    plan: Plan[Compositions], rows: dict[str, np.ndarray], kept: np.ndarray, predicted: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Compute `p_perovskite` of those kept, if the model predicts the energies that it takes; drop these."""
    if any(name not in predicted for name in ENERGIES):
        return {}
    known = {name: rows[name][kept] for name in ("species", "tau", "tolerance_factor", "octahedral_factor")}
    found = p_perovskite(known | predicted, plan.candidates.prototype)
    return {"p_perovskite": found}


def _filter(plan: Plan[Compositions], rows: dict[str, np.ndarray]) -> None:
    """Apply the filters of predicted columns to rows that were predicted."""
    good = rows["status"] == Status.OK
    rows["status"][good] = filters.apply(plan.filters, rows, predicted=True)[good]
