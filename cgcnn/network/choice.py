"""Which kernel predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgcnn.network.compiled import instruction_sets, missing
from cgcnn.network.folded import fold
from cgcnn.network.numpy_kernel import NumpyKernel
from cgcnn.network.template_kernel import TemplateKernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cgcnn.network.folded import Weights
    from cgcnn.network.kernel import Kernel
    from cgcnn.network.settings import Settings


def choose_kernel(settings: Settings, members: Sequence[Weights], device: str = "cpu") -> Kernel:
    """The kernel for a device: numpy on "cpu", the reference in torch on any other.

    Args:
        settings: Shape of the networks.
        members: Tensors of each network by their names in `cgcnn.network.reference.CGCNN`.
        device: As torch names it.
    """
    if device == "cpu":
        return NumpyKernel(fold(settings, members))
    from cgcnn.network.torch_kernel import TorchKernel

    return TorchKernel(settings, members, device)


def for_candidates(kernel: Kernel) -> Kernel:
    """What predicts candidates of prototypes where a kernel predicts graphs: a compiled one if it can, or the same."""
    if isinstance(kernel, NumpyKernel) and _compiled(kernel.folded.settings):
        return TemplateKernel(kernel.folded)
    return kernel


def name_kernel(settings: Settings, *, candidates: bool) -> str:
    """Name and version of the kernel that predicts on a CPU here, candidates of prototypes or graphs."""
    kernel = TemplateKernel if candidates and _compiled(settings) else NumpyKernel
    return f"{kernel.name} {kernel.version}"


def note_slowness(settings: Settings, *, candidates: bool) -> str:
    """A line on what makes predictions on this CPU slower than they need be; empty if nothing does."""
    if not candidates or settings.convolution != "gated" or not (reason := missing()):
        return ""
    return f"the kernel for candidates {reason}. Without it they take two to four times as long."


def _compiled(settings: Settings) -> bool:
    return settings.convolution == "gated" and settings.layers > 0 and bool(instruction_sets())
