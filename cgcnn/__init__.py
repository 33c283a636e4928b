"""Crystal graph convolutional neural networks for screening: graphs, models, training, shipped weights."""

__version__ = "0.1.0"
