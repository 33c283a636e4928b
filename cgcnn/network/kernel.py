"""What predicts: a kernel is the mathematics of the networks in some arithmetic; see `choice` beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype

    Outputs = NDArray[np.float32]
    """(members, n, T) in the targets' units; a probability where a target is binary."""


class Kernel(Protocol):
    """The networks of an ensemble, ready to predict.

    Equal batches get equal bits from one kernel on one kind of machine. Other kernels, other versions of one, and other
    batches may give other last bits, within `cgcnn.network.settings.CLOSE` of the reference: libraries for matrices sum
    in an order that depends on where in a matrix a row is.

    Attributes:
        name: Such as "numpy".
        version: To be counted up when the bits of a prediction change.
        independent: Whether the bits of a candidate's prediction are the same whatever else is predicted with it.
    """

    name: str
    version: int
    independent: bool

    def predict(self, batch: GraphBatch) -> Outputs:
        """What each member says of n graphs."""

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """What each member says of the graphs that n candidates of a prototype have.

        Args:
            prototype: Of the candidates.
            species: (n, n_sites) atomic numbers.
            a: (n,) lattice constants, Å.
        """

    def pooled(self, batch: GraphBatch) -> NDArray[np.float32]:
        """(n, W) the vectors of n crystals in the first member, before the hidden layers; with linear pooling means."""

    def contributions(self, batch: GraphBatch) -> Outputs:
        """What an atom of each of the N nodes contributes, (members, N, T); log odds where a target is binary.

        Only with linear pooling, where their mean over the atoms of a crystal is its target.
        """
