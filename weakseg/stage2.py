"""Refine CAMs into pseudo-masks: `python -m weakseg.stage2 --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import Stage2Plan


def main() -> None:
    """Run stage 2 as the command line says."""
    launch("stage2", Stage2Plan, "weakseg.stages.pseudo_masks:run")


if __name__ == "__main__":
    main()
