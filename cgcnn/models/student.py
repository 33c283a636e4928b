"""A student: one small network that repeats what an ensemble says of candidates, many times as fast, and not as well.

`cgcnn.training.student` fits it to the candidates of one prototype. It has one convolution and a readout of sites, so
that all of its products with elements are rows of tables, and goes through the same compiled kernel as the ensemble:
its bits do not depend on what else is predicted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load, save

from cgcnn.network.choice import choose_kernel, for_candidates
from cgcnn.network.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.kernel import Kernel, Weights

SETTINGS = Settings(targets=("key",), width=32, layers=1, hidden=64, sites=32, gaussians=16, activation="silu")
"""2.4 million candidates a second of a core; half as wide errs by a fifth more, and two convolutions gain nothing."""


@dataclass(frozen=True, eq=False)
class Student:
    """A fitted student.

    Attributes:
        weights: Of a network with `SETTINGS`, by their names in `cgcnn.network.reference.CGCNN`.
    """

    weights: Weights

    @classmethod
    def of_bytes(cls, content: bytes) -> Student:
        """The student that `to_bytes` gave."""
        return cls(load(content))

    def to_bytes(self) -> bytes:
        """Its weights as safetensors."""
        return save({name: np.ascontiguousarray(array) for name, array in self.weights.items()})

    @cached_property
    def digest(self) -> str:
        """What tells it from others."""
        return hashlib.blake2b(self.to_bytes(), digest_size=16).hexdigest()

    @cached_property
    def kernel(self) -> Kernel:
        """What does the arithmetic."""
        return for_candidates(choose_kernel(SETTINGS, [self.weights]))

    def predict(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) what the ensemble would say, about, of canonical species (n, n_sites) and lattice constants (n,), Å."""
        return self.kernel.predict_cells(prototype, species, a)[0, :, 0]
