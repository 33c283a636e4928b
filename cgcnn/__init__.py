"""Crystal graph convolutional neural networks for screening: graphs, models, training, shipped weights."""

from __future__ import annotations

__version__ = "0.1.0"
