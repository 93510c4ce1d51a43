"""Metrics of the three predictions, the token matrix, and the file of results."""
