"""The parts of `benchmarks/core.py`."""
