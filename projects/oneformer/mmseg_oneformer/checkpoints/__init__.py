"""Files of weights in any published form: read, recognised, converted both ways, written."""
