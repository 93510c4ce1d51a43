"""To be filled: evaluation."""
