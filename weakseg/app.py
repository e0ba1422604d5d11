"""Show a finished run in the browser: `python -m weakseg.app --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import AppPlan


def main() -> None:
    """Run the command as its line says."""
    launch("app", AppPlan, "weakseg.stages.serving.app:run")


if __name__ == "__main__":
    main()
