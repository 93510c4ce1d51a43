"""Bytes from strangers, read without running what is in them."""
