"""Training and evaluation: two functions, and what mmengine lacks for them (exact resuming, safe saving, groups)."""
