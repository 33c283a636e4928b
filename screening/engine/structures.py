"""What happens to one block of structures: parse, make graphs, predict; see `screening.engine.compositions` too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.data.build import Builder, Rule
from cgcnn.elements import MAX_Z
from cgcnn.graphs.batch import GraphBatch
from cgcnn.inference.predict import batches, in_domain, usable
from cgcnn.models.deviations import IMPOSSIBLE
from screening.candidates.structures import LONGEST, Structures, compositions, kinds_of_perovskite
from screening.engine.block import Block, BlockResult, stable_probability
from screening.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.models.model import Model
    from screening.plan import Plan


@dataclass(frozen=True)
class BuiltStructures:
    """A block of structures up to the prediction.

    Attributes:
        block: Which.
        fingerprints: (n,) of `screening.candidates.structures.Structures.fingerprints`.
        failures: Index of each structure that has no graph -> the reason.
        perovskites: (n, w) of `screening.candidates.structures.kinds_of_perovskite`.
        graphs: Those of all others, in order, as few arrays that travel from one process to another.
    """

    block: Block
    fingerprints: NDArray[np.uint64]
    failures: dict[int, str]
    perovskites: NDArray[np.uint8]
    graphs: GraphBatch


def load(plan: Plan[Structures]) -> Model:
    """Load the model of a plan.

    Raises:
        UserError: It cannot be read.
    """
    from cgcnn.models.files import load as read

    return read(plan.model.path)


def build(plan: Plan[Structures], model: Model, block: Block) -> BuiltStructures:
    """Parse the structures of a block and make their graphs; each that cannot be used has a reason."""
    structures = plan.candidates
    entries = structures.entries(block.start, block.stop)
    graphs = usable(model, Builder(Rule.of(model.settings)).build(entries))
    failures = {block.start + i: graph for i, graph in enumerate(graphs) if isinstance(graph, str)}
    batch = GraphBatch.of_graphs([graph for graph in graphs if not isinstance(graph, str)])
    built = [i for i, graph in enumerate(graphs) if not isinstance(graph, str)]
    kinds = kinds_of_perovskite(entries, batch, built)
    return BuiltStructures(block, structures.fingerprints(block.start, block.stop), failures, kinds, batch)


def infer(plan: Plan[Structures], model: Model, built: BuiltStructures) -> BlockResult:
    """Predict what was built, in the `batches` that `cgcnn predict` makes of the same structures."""
    rows, graphs = _unpredicted(built.fingerprints), built.graphs
    failures = dict(built.failures)
    bad = np.array([index - built.block.start for index in failures], dtype=np.int64)
    good = np.setdiff1d(np.arange(len(built.fingerprints)), bad)
    rows["status"][good] = Status.OK
    rows["perovskite"] = built.perovskites.copy()  # what travelled is read-only
    numbers = np.split(graphs.numbers, graphs.node_starts[1:])[: len(graphs)]
    counts = np.split(graphs.multiplicity, graphs.node_starts[1:])[: len(graphs)]
    rows["composition"][good] = compositions(numbers, counts)
    for start, stop in batches(built.block.start + good):
        for name, values in _predict(plan.stable_at, model, graphs.part(start, stop)).items():
            rows[name][good[start:stop]] = values
    lost = good[~np.isfinite(rows["e_above_hull"][good])]
    rows["status"][lost] = Status.FAILED
    failures |= dict.fromkeys((built.block.start + lost).tolist(), IMPOSSIBLE)
    return BlockResult(built.block, rows, failures)


def failed(plan: Plan[Structures], block: Block, reason: str) -> BlockResult:
    """Return the rows of a block that could not be scored."""
    rows = _unpredicted(plan.candidates.fingerprints(block.start, block.stop))
    return BlockResult(block, rows, dict.fromkeys(range(block.start, block.stop), reason))


def sift(plan: Plan[Structures], model: Model, start: int, stop: int) -> dict[str, np.ndarray]:
    """Compute the `status` of structures [start, stop), short of predictions that fail."""
    built = build(plan, model, Block(0, start, stop))
    status = np.full(stop - start, Status.OK, dtype=np.uint8)
    status[[index - start for index in built.failures]] = Status.FAILED
    return {"status": status}


def _unpredicted(fingerprints: NDArray[np.uint64]) -> dict[str, np.ndarray]:
    """Return rows of structures that all failed so far."""
    n = len(fingerprints)
    predicted = ("e_above_hull", "e_above_hull_std", "p_stable")
    return {
        "fingerprint": fingerprints,
        "composition": np.zeros((n, MAX_Z + 1), dtype=np.uint16),
        "perovskite": np.zeros((n, LONGEST), dtype=np.uint8),
        "status": np.full(n, Status.FAILED, dtype=np.uint8),
        "in_domain": np.zeros(n, dtype=np.bool_),
        **{name: np.full(n, np.nan, dtype=np.float32) for name in predicted},
    }


def _predict(stable_at: float, model: Model, graphs: GraphBatch) -> dict[str, np.ndarray]:
    energy, spread = model.predict(graphs)["e_above_hull"]
    return {
        "in_domain": in_domain(model, graphs),
        "e_above_hull": energy,
        "e_above_hull_std": spread,
        "p_stable": stable_probability(energy, spread, stable_at),
    }
