"""Train a segmenter on pseudo-masks and evaluate it: `python -m weakseg.stage3 --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import Stage3Plan


def main() -> None:
    """Run stage 3 as the command line says."""
    launch("stage3", Stage3Plan, "weakseg.stages.segmentation:run")


if __name__ == "__main__":
    main()
