"""Compare finished runs on the same frames: `python -m weakseg.compare --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import ComparePlan


def main() -> None:
    """Run the command as its line says."""
    launch("compare", ComparePlan, "weakseg.stages.comparison.command:run")


if __name__ == "__main__":
    main()
