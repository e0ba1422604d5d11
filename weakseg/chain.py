"""Run stages one on the other as one run: `python -m weakseg.chain --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import ChainPlan


def main() -> None:
    """Run the command as its line says."""
    launch("chain", ChainPlan, "weakseg.stages.chain:run")


if __name__ == "__main__":
    main()
