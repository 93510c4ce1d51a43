"""How fast and how large: our code against other code for the same, in one process.

``measure`` runs and times two calls in turn, ``rows`` is what comes out, ``settings`` the arguments that subcommands
of ``tools/analysis_tools/benchmark.py`` share. Every other module is one subcommand: ``add_arguments(parser)`` and
``run(args) -> list[Row]``, the first line of its docstring being its help. ``peers`` holds what we are measured
against.
"""
