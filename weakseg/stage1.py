"""Train a classifier on frame labels and export its CAMs: `python -m weakseg.stage1 --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import Stage1Plan


def main() -> None:
    """Run stage 1 as the command line says."""
    launch("stage1", Stage1Plan, "weakseg.stages.cams:run")


if __name__ == "__main__":
    main()
