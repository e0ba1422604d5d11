"""Export a finished run's segmenter as ONNX: `python -m weakseg.export --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import ExportPlan


def main() -> None:
    """Run the command as its line says."""
    launch("export", ExportPlan, "weakseg.stages.export:run")


if __name__ == "__main__":
    main()
