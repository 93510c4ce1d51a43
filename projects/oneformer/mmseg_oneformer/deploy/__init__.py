"""Models outside of Python training code: one graph for all tasks, checked against PyTorch."""
