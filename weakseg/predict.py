"""Segment new frames with a finished run: `python -m weakseg.predict --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import PredictPlan


def main() -> None:
    """Run the command as its line says."""
    launch("predict", PredictPlan, "weakseg.stages.prediction.command:run")


if __name__ == "__main__":
    main()
