"""Data sets of each kind and their mix, the transforms that make training samples, and the order of the samples."""
