"""Run sweeps without a server, and tell what they found."""
