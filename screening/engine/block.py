"""A block of candidates, and what it becomes: the records that travel, whatever the kind of candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """Consecutive candidates [start, stop) of a space: the unit of work, of storage and of commitment."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class BlockResult:
    """The rows of a block.

    Attributes:
        block: Which.
        columns: Column name -> array whose first axis has `stop - start` entries.
        failures: Index of each candidate that failed -> the reason.
    """

    block: Block
    columns: dict[str, np.ndarray]
    failures: dict[int, str]


def stable_probability(energy: np.ndarray, spread: np.ndarray, threshold: float) -> np.ndarray:
    """P(energy above hull <= threshold), for a normal distribution of the given mean and standard deviation.

    Args:
        energy: (n,) mean energy above hull, eV/atom.
        spread: (n,) its standard deviation, eV/atom.
        threshold: eV/atom.

    Returns:
        (n,) float32 probabilities.
    """
    from scipy.special import ndtr

    with np.errstate(over="ignore"):  # of thresholds beyond any energy
        distance = (threshold - energy.astype(np.float64)) / np.maximum(spread.astype(np.float64), 1e-6)
    return np.asarray(ndtr(distance), dtype=np.float32)
