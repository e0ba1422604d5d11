"""Compare finished runs on the same frames."""
