"""The network, its losses and its post-processing."""
