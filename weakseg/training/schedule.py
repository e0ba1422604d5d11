"""Set the learning rate of every step as a pure function of its number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch.optim import Optimizer

from weakseg.checks import check_at_least, check_in_unit


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up to the full learning rate, then half a cosine down to nothing.

    Args:
        steps: Steps in the whole training, at least 1.
        warmup_fraction: Share of them spent warming up, in [0, 1].
    """

    steps: int
    warmup_fraction: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no schedule."""
        check_at_least(1, steps=self.steps)
        check_in_unit(warmup_fraction=self.warmup_fraction)

    def factor(self, step: int) -> float:
        """Return the share of the full learning rate to use at `step`, counted from 0."""
        warmup = round(self.steps * self.warmup_fraction)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, self.steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rate of every group for `step`; return the first group's.

        The full rate is kept as `initial_lr` in each group, so it travels with the optimiser's
        saved state and the schedule itself has none.
        """
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * self.factor(step)
        return float(optimizer.param_groups[0]["lr"])
