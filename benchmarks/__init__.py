"""Time and memory of our code against other code for the same task, in one process.

``measure`` runs and times two calls in turn, ``rows`` holds the results, ``settings`` the arguments that subcommands
of ``tools/analysis_tools/benchmark.py`` share. Most other modules are one subcommand each: ``add_arguments(parser)``
and ``run(args) -> list[Row]``, with the first line of the docstring as its help. ``peers`` holds the code that ours is
measured against.
"""
