"""Models without the training code: one graph for all tasks, checked against PyTorch."""
