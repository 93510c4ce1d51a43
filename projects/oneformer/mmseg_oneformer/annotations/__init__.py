"""The entry point for annotation files: one module per format, which reads, checks and returns only valid data.

Data sets, doctor, converters and metrics use what these modules return and check nothing again. A fault of a file is
a :class:`~.faults.Fault`; nothing else is raised, whatever the bytes.
"""
