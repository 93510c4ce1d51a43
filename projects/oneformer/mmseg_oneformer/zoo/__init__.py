"""What can be had by name: configs, published scores, and weights that are shipped, cached or downloaded."""
