"""Training and evaluation: the two functions, and what mmengine lacks for them (exact resume, safe saving, groups)."""
