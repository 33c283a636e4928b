"""Train a model from labelled samples and a recipe."""
