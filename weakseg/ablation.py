"""Say what each step is worth, by a table over seeds: `python -m weakseg.ablation --help`."""

from __future__ import annotations

from weakseg.launch import launch
from weakseg.plans import AblationPlan


def main() -> None:
    """Run the command as its line says."""
    launch("ablation", AblationPlan, "weakseg.stages.ablation.command:run")


if __name__ == "__main__":
    main()
