"""Type what the commands around the stages are asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weakseg.plans.common import MISSING, HardwarePlan


@dataclass
class CheckPlan:
    """Look over a data set before anything is trained on it."""

    data: Any = MISSING
    output: str = MISSING
    max_pixels: int = 100_000_000
    near_duplicate_bits: int = 16
    seed: int = 0


@dataclass
class EvaluatePlan:
    """Measure a finished run's product against masks.

    Args:
        rules: Rules for the threshold that are compared with the run's own, by name.
    """

    run: str = MISSING
    data: Any = None
    split: str | None = None
    name: str = ""
    hardware: HardwarePlan = field(default_factory=HardwarePlan)
    resamples: int = 1000
    seed: int = 0
    report_frames: int = 4
    rules: dict[str, Any] = field(default_factory=dict)
