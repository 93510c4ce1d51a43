"""Backbones that mmdet has not, the names of all that were published, and the weights that training starts from."""
