"""Backbones of our own, the weight names of all that were published, and the weights that training starts from."""
