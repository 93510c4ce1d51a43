"""To be filled: models."""
