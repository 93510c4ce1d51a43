"""Metrics of the three predictions, the token matrix, and the results file."""
