"""Segment new pictures, videos and streams with a finished run."""
