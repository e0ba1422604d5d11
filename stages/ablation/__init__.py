"""Measure what every step is worth: rows, seeds, units as processes, a table and a page."""
