"""Look over a data set before training: `python -m weakseg.check --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import CheckPlan


def main() -> None:
    """Run the command as its line says."""
    launch("check", CheckPlan, "weakseg.stages.audit:run")


if __name__ == "__main__":
    main()
