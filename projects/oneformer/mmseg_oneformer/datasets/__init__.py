"""To be filled: datasets."""
