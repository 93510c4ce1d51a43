"""To be filled: engine."""
