"""Import what others annotated or released: `python -m weakseg.import --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import ImportPlan


def main() -> None:
    """Run the command as its line says."""
    launch("import", ImportPlan, "weakseg.stages.importing.command:run")


if __name__ == "__main__":
    main()
