"""Candidates: enumerated spaces, lists and structures."""
