"""Hold the configuration files: what to run, as values."""
