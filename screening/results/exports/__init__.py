"""Ranked candidates as files for other programs."""
