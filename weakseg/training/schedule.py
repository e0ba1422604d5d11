"""Set the learning rate of every step as a pure function of its number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from torch.optim import Optimizer

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive

DECAYS: Final = ("cosine", "poly", "constant")


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to the full learning rate, then down to nothing, or not.

    Args:
        steps: Steps in the whole training, at least 1.
        warmup_fraction: Share of them spent warming up, in [0, 1].
        decay: What follows: "cosine" is half a cosine down to 0, "poly" falls as
            (1 - progress)^power, "constant" stays.
        power: Of "poly", > 0; 0.9 is usual, and 1 is a straight line.

    References:
        Loshchilov and Hutter, "SGDR", ICLR 2017 (cosine, without restarts); Liu et al., "ParseNet",
        2015 (poly).
    """

    steps: int
    warmup_fraction: float = 0.1
    decay: str = "cosine"
    power: float = 0.9

    def __post_init__(self) -> None:
        """Refuse what makes no schedule."""
        check_at_least(1, steps=self.steps)
        check_in_unit(warmup_fraction=self.warmup_fraction)
        check_one_of(DECAYS, decay=self.decay)
        check_positive(power=self.power)

    def factor(self, step: int) -> float:
        """Return the share of the full learning rate to use at `step`, counted from 0."""
        warmup = round(self.steps * self.warmup_fraction)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        if self.decay == "constant":
            return 1.0
        if self.decay == "poly":
            return float((1 - progress) ** self.power)
        return 0.5 * (1 + math.cos(math.pi * progress))

    def apply(self, optimizer: Optimizer, step: int) -> float:
        """Set the learning rate of every group for `step`; return the first group's.

        The full rate is kept as `initial_lr` in each group, so it travels with the optimiser's
        saved state and the schedule itself has none.
        """
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * self.factor(step)
        return float(optimizer.param_groups[0]["lr"])
