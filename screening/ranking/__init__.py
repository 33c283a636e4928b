"""Rankings: the order of the candidates of a run, and what is made of it."""
