"""To be filled: visualization."""
