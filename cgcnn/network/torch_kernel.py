"""The network in torch as a kernel for devices that numpy cannot reach; candidates go through `torch_template`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from cgcnn.graphs.batch import GraphBatch
from cgcnn.graphs.template import templates
from cgcnn.network.reference import network
from cgcnn.network.tensors import TensorBatch
from cgcnn.network.torch_template import TemplateNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cgcnn.graphs.prototype import Prototype
    from cgcnn.network.folded import Weights
    from cgcnn.network.kernel import Outputs
    from cgcnn.network.settings import Settings

ROWS_AT_ONCE = 1024  # candidates; bounds memory, and intermediate results stay near the caches
EDGES_AT_ONCE = 50_000  # of graphs; bounds memory, whatever the size of the crystals


class TorchKernel:
    """See `cgcnn.network.kernel.Kernel`. The last bits of a prediction may change with what else is in its batch."""

    name = "torch"
    version = 2
    independent = False

    def __init__(self, settings: Settings, members: Sequence[Weights], device: str = "cpu") -> None:
        self.settings, self.device = settings, device
        self.networks = [network(settings, member).eval().to(device) for member in members]

    @torch.inference_mode()
    def predict(self, batch: GraphBatch) -> Outputs:
        """(members, n, T) targets of n graphs."""
        parts = [self._predict(batch.part(*run)) for run in batch.runs(EDGES_AT_ONCE)]
        return np.concatenate([self._nothing, *parts], axis=1)

    @torch.inference_mode()
    def predict_cells(self, prototype: Prototype, species: NDArray[np.uint8], a: NDArray[np.float32]) -> Outputs:
        """(members, n, T) targets of n candidates."""
        gated = self.settings.convolution == "gated"
        outputs = np.empty((len(self.networks), len(species), len(self.settings.targets)), dtype=np.float32)
        for template, served in templates(prototype, species, self.settings.neighbours):
            on_template = [TemplateNetwork(member, template) for member in self.networks] if gated else []
            for i in range(0, len(served), ROWS_AT_ONCE):
                rows = served[i : i + ROWS_AT_ONCE]
                if gated:
                    cells = self._tensor(species[rows]).int(), self._tensor(a[rows])
                    outputs[:, rows] = np.stack([member.targets(*cells).cpu().numpy() for member in on_template])
                else:
                    neighbours = self.settings.neighbours
                    outputs[:, rows] = self._predict(
                        GraphBatch.of_prototype(prototype, species[rows], a[rows], neighbours)
                    )
        return outputs

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    @torch.inference_mode()
    def pooled(self, batch: GraphBatch) -> NDArray[np.float32]:
        """(n, W) vectors of n crystals in the first member."""
        nothing = np.empty((0, self.settings.width), dtype=np.float32)
        parts = [TensorBatch.of(batch.part(*run), self.device) for run in batch.runs(EDGES_AT_ONCE)]
        return np.concatenate([nothing, *(self.networks[0].pooled(part).cpu().numpy() for part in parts)])

    @torch.inference_mode()
    def contributions(self, batch: GraphBatch) -> Outputs:
        """(members, N, T) contributions of N nodes."""
        tensors = TensorBatch.of(batch, self.device)
        return np.stack([member.contributions(tensors).cpu().numpy() for member in self.networks])

    def _predict(self, batch: GraphBatch) -> Outputs:
        tensors = TensorBatch.of(batch, self.device)
        return np.stack([member(tensors).cpu().numpy() for member in self.networks])

    @property
    def _nothing(self) -> Outputs:
        return np.empty((len(self.networks), 0, len(self.settings.targets)), dtype=np.float32)
