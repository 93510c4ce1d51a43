"""Training machinery that mmengine lacks: exact resume, safe saving, parameter groups, command-line manners."""
