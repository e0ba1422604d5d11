"""Measure what a finished run has made against masks."""
