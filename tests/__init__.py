"""A package, so that `python -m tests.soak.X` finds these tests and not those that some library installs as `tests`."""
