"""What predicts: kernels, each the same mathematics in other arithmetic, and the choice between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.folded import Weights
    from cgcnn.network.settings import Settings

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
    """

    name: str
    version: int

    def predict(self, batch: GraphBatch) -> Outputs:
        """What each member says of n graphs."""

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """What each member says of the graphs that n candidates of a prototype have.

        Args:
            prototype: Of the candidates.
            species: (n, n_sites) atomic numbers.
            a: (n,) lattice constants, Å.
        """

    def contributions(self, batch: GraphBatch) -> Outputs:
        """What an atom of each of the N nodes contributes, (members, N, T); log odds where a target is binary.

        Only with linear pooling, where their mean over the atoms of a crystal is its target.
        """


def choose(settings: Settings, members: Sequence[Weights], device: str = "cpu") -> Kernel:
    """The kernel for a device: numpy on "cpu", the reference in torch on any other.

    Args:
        settings: Shape of the networks.
        members: Tensors of each network by their names in `cgcnn.network.reference.CGCNN`.
        device: As torch names it.
    """
    if device == "cpu":
        from cgcnn.network.folded import fold  # noqa: PLC0415  # a client that only asks for a kernel's name does without
        from cgcnn.network.numpy_kernel import NumpyKernel  # noqa: PLC0415

        return NumpyKernel(fold(settings, members))
    from cgcnn.network.torch_kernel import TorchKernel  # noqa: PLC0415  # imports torch

    return TorchKernel(settings, members, device)
