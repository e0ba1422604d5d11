"""Smoke that never was: seeded landscapes with plumes, exact masks, and things that look alike."""

from weakseg.data.synthetic.source import SyntheticSource as SyntheticSource
