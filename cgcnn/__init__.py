"""Crystal graph convolutional neural networks for screening: graphs, models, training, shipped weights."""
