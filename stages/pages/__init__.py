"""Tell each stage's run on one page: figures, curves, and the frames that teach most."""
