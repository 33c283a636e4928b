"""Rankings: the order of a run's candidates, and what can be made of it."""
