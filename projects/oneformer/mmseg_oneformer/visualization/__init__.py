"""Pictures of predictions, for all three tasks."""
