"""From labelled samples and a recipe to a model."""
