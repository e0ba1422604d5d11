"""Upload wandb runs that were written offline: `python -m weakseg.sync --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import SyncPlan


def main() -> None:
    """Run the command as its line says."""
    launch("sync", SyncPlan, "weakseg.stages.syncing:run")


if __name__ == "__main__":
    main()
