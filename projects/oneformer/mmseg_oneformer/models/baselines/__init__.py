"""Models that OneFormer is compared with, on the same data and with the same kinds of predictions."""
