"""Arithmetic of the kernel in numpy, mostly in place: passes over memory are what it spends its time on."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

_LIMIT = 80.0  # softplus(x) is x beyond, and exp(x) still a number


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """One thread for products while it lasts: they are too small for more, and bits must not depend on the cores."""
    limit: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limit


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), in place."""
    _one_plus_exp(np.negative(x, out=x))
    return np.divide(np.float32(1), x, out=x)


def silu(x: Array) -> Array:
    """Sigmoid linear unit x · sigmoid(x), in place."""
    x /= _one_plus_exp(np.negative(x))
    return x


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), in place."""
    found = np.exp(x if x.max(initial=0) <= _LIMIT else np.minimum(x, np.float32(_LIMIT)))  # NaN compares as false
    found += np.float32(1)
    return np.maximum(np.log(found, out=found), x, out=x)


def message(minus_gate: Array, core: Array) -> Array:
    """sigmoid(gate) · softplus(core), from the negative of the gate; overwrites both."""
    found = softplus(core)
    found /= _one_plus_exp(minus_gate)
    return found


def _one_plus_exp(x: Array) -> Array:
    """1 + exp(x), in place; infinite beyond 88, of which its users make what they should."""
    with np.errstate(over="ignore"):
        np.exp(x, out=x)
    x += np.float32(1)
    return x


def gaussians(distance: Array, centres: Array) -> Array:
    """(n, K) terms of distances (n,) Å, as wide as their spacing."""
    offset = distance[:, None] - centres
    offset /= centres[1] - centres[0]
    np.square(offset, out=offset)
    terms: Array = np.exp(np.negative(offset, out=offset), out=offset)
    return terms
