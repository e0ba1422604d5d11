"""How near a lattice comes to the Gaussian: what each quality does, step by step as the C++."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

Quality: TypeAlias = Literal["standard", "high"]

QUALITIES: Final = ("standard", "high")

GIVE_BACK: Final = 0.15
"""Part of a missing neighbour's weight that a vertex adds to its own."""


@dataclass(frozen=True)
class Scheme:
    """How points are put on the lattice, and how its vertices are blurred.

    Args:
        blur: Weight of both neighbours along an axis, beside a centre of 1.
        rounds: How often the blur goes over all axes; the second time in reverse order.
        shrink: Factor on the Gaussian's size in the lattice.
        ring: Add the missing vertices that neighbour at least two in use, or one twice.
    """

    blur: float
    rounds: int
    shrink: float
    ring: bool

    @property
    def variance(self) -> float:
        """Of splat, blur and slice together along every axis, in units of (d + 1)^2."""
        # The splat and the slice have 1/12 each.
        return 1 / 6 + self.rounds * 2 * self.blur / (1 + 2 * self.blur)

    def axis_scales(self, dims: int) -> list[float]:
        """Return lattice units in a standard deviation of every feature: float32 numbers."""
        # Rounded twice, as pydensecrf does: then the same points lie on borders.
        deviation = float(np.float32(math.sqrt(self.variance) * self.shrink * (dims + 1)))
        return [
            float(np.float32(1 / math.sqrt((i + 2.0) * (i + 1.0)) * deviation)) for i in range(dims)
        ]

    def output_scale(self, dims: int) -> float:
        """Return the factor that makes the filter's integral (2 pi)^(d/2), the Gaussian's."""
        # A vertex owns the volume 1 / (sqrt(d + 1) deviation^d); every blur multiplies the mass.
        volume = math.pow(2 * math.pi * self.variance * self.shrink**2, dims / 2)
        mass = math.pow(1 + 2 * self.blur, self.rounds * (dims + 1))
        return volume * math.sqrt(dims + 1) / mass


# Measured on photos: with a ring, the blur is a little wider than its own variance.
SCHEMES: Final[dict[str, Scheme]] = {
    "standard": Scheme(blur=0.5, rounds=1, shrink=1.0, ring=False),
    "high": Scheme(blur=0.3, rounds=2, shrink=0.99, ring=True),
}
