"""Names and orders of tensors: the reference code's, those of transformers, and ours, in both directions."""
