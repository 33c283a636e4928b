"""Trained models: weights, cards, domains, calibrated deviations."""
