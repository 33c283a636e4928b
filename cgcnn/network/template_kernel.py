"""Compiled kernel for the candidates of prototypes: gated convolutions on fixed templates, in `template_kernel.cpp`.

Every instruction set gives the same bits, whatever the number and the order of the candidates.
"""

from __future__ import annotations

from ctypes import byref
from typing import TYPE_CHECKING

import numpy as np

from cgcnn.elements import MAX_Z
from cgcnn.graphs.template import templates
from cgcnn.network.compiled import VERSION, Candidates, function, instruction_sets, record
from cgcnn.network.numpy_kernel import NumpyKernel, mix
from cgcnn.network.packed import pack_network, pack_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cgcnn.graphs.batch import GraphBatch
    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.folded import Folded
    from cgcnn.network.kernel import Outputs


class TemplateKernel:
    """See `cgcnn.network.kernel.Kernel`; candidates in compiled code, other graphs as `NumpyKernel` does them.

    Attributes:
        instructions: The instruction set in use.
    """

    name = "template"
    version = VERSION
    independent = True

    def __init__(self, folded: Folded, instructions: str | None = None) -> None:
        """Networks; without a set of instructions, with the fastest of this machine.

        Raises:
            ValueError: The convolutions are not gated, or the set is not to be had here.
        """
        if folded.settings.convolution != "gated" or not folded.settings.layers:
            what = folded.settings.convolution if folded.settings.layers else "none"
            raise ValueError(f"the template kernel knows gated convolutions, not {what}")
        self.instructions = instructions or next(iter(instruction_sets()), "none")
        self._predict = function("predict", self.instructions)
        self.folded, self._numpy = folded, NumpyKernel(folded)
        self._members = [pack_network(folded, i) for i in range(len(folded.table))]
        self._covered = np.asarray(~np.isnan(folded.table).any(axis=(0, 2)))  # (101,)

    def predict(self, batch: GraphBatch) -> Outputs:
        """(members, n, T) targets of n graphs."""
        return self._numpy.predict(batch)

    def pooled(self, batch: GraphBatch) -> NDArray[np.float32]:
        """(n, W) vectors of n crystals in the first member."""
        return self._numpy.pooled(batch)

    def contributions(self, batch: GraphBatch) -> Outputs:
        """(members, N, T) contributions of N nodes."""
        return self._numpy.contributions(batch)

    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """(members, n, T) targets of n candidates; NaN where an element has no features or ``a`` is not finite.

        Raises:
            ValueError: An atomic number is beyond the models', or the arrays do not fit.
        """
        species, a = np.ascontiguousarray(species, dtype=np.uint8), np.ascontiguousarray(a, dtype=np.float32)
        if species.shape != (len(a), len(prototype.sites)) or (species > MAX_Z).any():
            raise ValueError(f"species {species.shape}, up to {species.max(initial=0)}, for {len(a)} lattice constants")
        settings = self.folded.settings
        outputs = np.empty((len(self._members), len(species), len(settings.targets)), dtype=np.float32)
        for template, rows in templates(prototype, species, settings.neighbours):
            graph, served = pack_template(template, settings.pooling), np.ascontiguousarray(rows, dtype=np.int64)
            for member, out in zip(self._members, outputs, strict=True):
                those = record(
                    Candidates,
                    count=len(served),
                    rows=served,
                    species=species,
                    a=a,
                    out=out,
                    targets=len(settings.targets),
                )
                if self._predict(byref(member), byref(graph), byref(those)):
                    raise MemoryError("no memory for a block of candidates")
        for out in outputs:
            mix(out, settings.mixed)
        outputs[:, ~(self._covered[species].all(axis=1) & np.isfinite(a))] = np.nan
        return outputs
