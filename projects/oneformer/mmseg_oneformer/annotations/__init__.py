"""The door for annotation files: one module a format, which reads, checks and returns what is known to be valid.

Data sets, doctor, converters and metrics take what these modules return and check nothing again. A fault of a file is
a :class:`~.faults.Fault`; nothing else is raised, whatever the bytes.
"""
