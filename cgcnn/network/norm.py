"""BatchNorm for quotient graphs: each row counts as often as what it stands for."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cgcnn.network.settings import EPSILON


class WeightedNorm(nn.Module):
    """BatchNorm whose statistics count each row as often as its weight says."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Normalise x (M, C) with row weights (M,)."""
        if self.training:
            share = weight / weight.sum()  # (M,)
            result, mean, variance = _Standardise.apply(x, share, self.scale, self.shift)  # type: ignore[no-untyped-call]
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
            return cast("Tensor", result)
        factor = self.scale * torch.rsqrt(self.variance + EPSILON)  # (C,)
        return torch.addcmul(self.shift - self.mean * factor, x, factor)  # (M, C)


class _Standardise(torch.autograd.Function):
    """What a norm does in training, with a gradient of its own: half of the passes over M rows that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised x (M, C), and its mean and variance (C,); shares (M,) of the rows add up to 1."""
        mean = share @ x  # (C,)
        y = x - mean  # (M, C)
        variance = share @ y.square()  # (C,)
        inverse = torch.rsqrt(variance + EPSILON)  # (C,)
        y *= inverse
        ctx.save_for_backward(y, share, scale, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return torch.addcmul(shift, y, scale), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by x, scale and shift."""
        y, share, scale, inverse = ctx.saved_tensors
        by_shift, by_scale = grad.sum(dim=0), (grad * y).sum(dim=0)  # (C,)
        common = torch.addcmul(by_shift, y, by_scale).mul_(share[:, None])  # (M, C) through mean and variance
        return common.neg_().add_(grad).mul_(scale * inverse), None, by_scale, by_shift
