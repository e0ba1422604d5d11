"""Run a wandb sweep file without a server: `python -m weakseg.sweep --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import SweepPlan


def main() -> None:
    """Run the command as its line says."""
    launch("sweep", SweepPlan, "weakseg.stages.sweeps.command:run")


if __name__ == "__main__":
    main()
