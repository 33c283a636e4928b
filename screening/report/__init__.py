"""A run as one HTML page to explore."""
