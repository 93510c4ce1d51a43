"""Other code for the same task, set up to be measured beside ours."""
