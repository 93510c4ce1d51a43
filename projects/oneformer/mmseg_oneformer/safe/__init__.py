"""Untrusted files, read without running what is in them."""
