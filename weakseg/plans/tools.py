"""Type what the commands around the stages are asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weakseg.plans.common import MISSING


@dataclass
class CheckPlan:
    """Look over a data set before anything is trained on it."""

    data: Any = MISSING
    output: str = MISSING
    max_pixels: int = 100_000_000
    near_duplicate_bits: int = 16
    seed: int = 0
