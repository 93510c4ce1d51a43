"""Other code for the same work, set up to be measured beside ours."""
