"""Answer HTTP requests with a finished run: `python -m weakseg.serve --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import ServePlan


def main() -> None:
    """Run the command as its line says."""
    launch("serve", ServePlan, "weakseg.stages.serving.api:run")


if __name__ == "__main__":
    main()
