"""Crystals and prototypes as graphs: complete shells, exact quotients, batches."""
