"""Choose the kernel that predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cgcnn.network.kernel import fold
from cgcnn.network.numpy_kernel import NumpyKernel
from cgcnn.network.template_kernel import TemplateKernel, instruction_sets, missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cgcnn.network.kernel import Kernel, Weights
    from cgcnn.network.settings import Settings


def choose_kernel(settings: Settings, members: Sequence[Weights], device: str = "cpu") -> Kernel:
    """Return the kernel for a device: numpy on "cpu", the reference in torch on any other.

    Args:
        settings: The shape of the networks.
        members: The tensors of each network, by their names in `cgcnn.network.reference.CGCNN`.
        device: A device as torch names it.
    """
    if device == "cpu":
        return NumpyKernel(fold(settings, members))
    from cgcnn.network.torch_kernel import TorchKernel

    return TorchKernel(settings, members, device)


def for_candidates(kernel: Kernel) -> Kernel:
    """Return the kernel to use for candidates of prototypes: a compiled one if possible, otherwise this one."""
    if isinstance(kernel, NumpyKernel) and _compiled(kernel.folded.settings):
        return TemplateKernel(kernel.folded)
    return kernel


def name_kernel(settings: Settings, *, candidates: bool) -> str:
    """Return the name and version of the kernel that predicts candidates, or graphs, on this CPU."""
    kernel = TemplateKernel if candidates and _compiled(settings) else NumpyKernel
    return f"{kernel.name} {kernel.version}"


def note_slowness(settings: Settings, *, candidates: bool) -> str:
    """Say in one line what slows predictions down on this CPU; empty if nothing does."""
    if not candidates or settings.convolution != "gated" or not (reason := missing()):
        return ""
    return f"the kernel for candidates {reason}. Without it they take two to four times as long."


def _compiled(settings: Settings) -> bool:
    return settings.convolution == "gated" and settings.layers > 0 and bool(instruction_sets())
