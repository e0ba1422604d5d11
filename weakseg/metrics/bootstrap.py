"""Say how sure a figure is, by drawing whole scenes anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_at_least, check_in_unit

Weights = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64]


class SceneDraws:
    """Data sets made of scenes drawn with replacement, the same for every figure asked of them.

    Frames of a scene are near copies of each other: drawing frames would make any figure look
    surer than it is. Two runs that are judged by the same draws are compared in pairs.

    Args:
        scenes: (N,) scene of each frame.
        draws: Data sets drawn, D, at least 1.
        seed: Of the draw.
    """

    def __init__(self, scenes: Sequence[str], *, draws: int = 1000, seed: int = 0) -> None:
        check_at_least(1, draws=draws)
        names, self._scene_of_frame = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
        self.scene_count = len(names)
        rng = np.random.default_rng(seed)
        even = np.full(len(names), 1 / max(1, len(names)))
        self._times = rng.multinomial(len(names), even, size=draws).astype(np.float64)

    def __len__(self) -> int:
        return len(self._times)

    def weights(self, draw: int) -> Weights:
        """Return (N,) how often each frame counts in one data set."""
        return np.asarray(self._times[draw][self._scene_of_frame], dtype=np.float64)

    def sums(self, values: Numbers) -> Numbers:
        """Return the sums over each data set's frames.

        Args:
            values: (N, F) what each frame adds.

        Returns:
            (D, F).
        """
        by_scene = np.zeros((self.scene_count, values.shape[1]))
        np.add.at(by_scene, self._scene_of_frame, values)
        return self._times @ by_scene

    def interval(self, values: Numbers, *, level: float = 0.95) -> tuple[float, float]:
        """Return the ends of the middle of a figure over the data sets.

        Args:
            values: (D,) the figure of each; those that are not finite are left out.
            level: Share of them within the interval, in [0, 1].

        Returns:
            NaN if there are fewer than two scenes, or no draw gives a number.
        """
        check_in_unit(level=level)
        known = values[np.isfinite(values)]
        if self.scene_count < 2 or len(known) == 0:
            return math.nan, math.nan
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def scene_interval(
    scenes: Sequence[str],
    figure: Callable[[Weights], float],
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a figure over data sets made of scenes drawn with replacement.

    Args:
        scenes: (N,) scene of each frame.
        figure: Gives the figure for (N,) counts of how often each frame was drawn.
        draws: Data sets drawn, at least 1.
        level: Share of them within the interval, in [0, 1].
        seed: Of the draw.

    Returns:
        Its ends. NaN if there are fewer than two scenes, or no draw gives a number.
    """
    drawn = SceneDraws(scenes, draws=draws, seed=seed)
    check_in_unit(level=level)
    if drawn.scene_count < 2:
        return math.nan, math.nan
    values = np.array([figure(drawn.weights(draw)) for draw in range(len(drawn))])
    return drawn.interval(values, level=level)
