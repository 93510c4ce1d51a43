"""Conversion between our names and orders of tensors and those of the reference code or transformers, both ways."""
