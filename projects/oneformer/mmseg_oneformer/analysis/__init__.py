"""Analysis of trained models and runs: the paper's tables beside our numbers, logs, attention, comparison."""
