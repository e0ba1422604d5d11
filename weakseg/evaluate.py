"""Measure a finished run against masks: `python -m weakseg.evaluate --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import EvaluatePlan


def main() -> None:
    """Run the command as its line says."""
    launch("evaluate", EvaluatePlan, "weakseg.stages.evaluation.command:run")


if __name__ == "__main__":
    main()
