"""Hold the recipes of the three stages, named by what they make."""
