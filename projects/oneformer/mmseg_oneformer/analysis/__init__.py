"""The paper beside what was built and measured: parameters, operations, results."""
