"""Say how sure a figure is, by drawing whole scenes anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_in_unit

Weights = npt.NDArray[np.float64]


def scene_interval(
    scenes: Sequence[str],
    figure: Callable[[Weights], float],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a figure over data sets made of scenes drawn with replacement.

    Frames of a scene are near copies of each other: drawing frames would make any figure look
    surer than it is.

    Args:
        scenes: (N,) scene of each frame.
        figure: Gives the figure for (N,) counts of how often each frame was drawn.
        draws: Data sets drawn, at least 1.
        level: Share of them within the interval, in [0, 1].
        seed: Of the draw.

    Returns:
        Its ends. NaN if there are fewer than two scenes, or no draw gives a number.
    """
    check_at_least(1, draws=draws)
    check_in_unit(level=level)
    names, scene_of_frame = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    if len(names) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    even = np.full(len(names), 1 / len(names))
    drawn = rng.multinomial(len(names), even, size=draws).astype(np.float64)
    values = np.array([figure(times[scene_of_frame]) for times in drawn])
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
