"""To be filled: apis."""
