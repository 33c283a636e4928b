"""A second opinion: the best candidates of a run, tilted and not, relaxed with a calculator of ASE."""
