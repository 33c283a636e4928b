"""A second opinion: relax the best candidates of a run, tilted and untilted, with an ASE calculator."""
