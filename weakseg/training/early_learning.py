"""Tell when a network stops learning what is regular, and starts to learn what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_in_unit

LEAST_POINTS: Final = 4
"""Three numbers are fitted: fewer points would say nothing."""

_RATES: Final = np.geomspace(0.01, 10, 61)
_POWERS: Final = np.linspace(0.1, 3, 59)

Floats = npt.NDArray[np.float64]


def has_learnt_early(overlaps: Sequence[float], *, slope_drop: float = 0.9) -> bool:
    """Tell whether the overlap with the given masks has stopped to grow as it did at first.

    The curve f(t) = a (1 - exp(-b t^c)) is fitted to the overlaps at t = 1, 2, ..., T. Early
    learning is over when its slope has fallen by the share `slope_drop`:
    |f'(1) - f'(T)| / |f'(1)| > slope_drop.

    Args:
        overlaps: T values of the IoU with the given, partly wrong masks, in [0, 1], at equal
            distances in time.
        slope_drop: In (0, 1).

    References:
        Liu et al., "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations",
        CVPR 2022, eq. 1 and 2. We fit on a grid of b and c, so that the fit never fails.
    """
    check_in_unit(slope_drop=slope_drop)
    if len(overlaps) < LEAST_POINTS:
        return False
    first, last = _slopes(np.asarray(overlaps, dtype=np.float64))
    # A flat curve has learnt nothing yet, and a rising slope has not seen its best.
    return first > 0 and (first - last) / first > slope_drop


def fit_curve(overlaps: Floats) -> tuple[float, float, float]:
    """Fit a (1 - exp(-b t^c)) at t = 1, 2, ... by least squares: a exactly, b and c on a grid.

    Args:
        overlaps: (T,) float64.

    Returns:
        a >= 0, b and c.
    """
    time = np.arange(1, len(overlaps) + 1, dtype=np.float64)
    # (b, c, T)
    shape = 1 - np.exp(-_RATES[:, None, None] * time ** _POWERS[:, None])
    scale = np.maximum((shape @ overlaps) / (shape**2).sum(axis=-1), 0)
    errors = ((scale[..., None] * shape - overlaps) ** 2).sum(axis=-1)
    b, c = np.unravel_index(int(errors.argmin()), errors.shape)
    return float(scale[b, c]), float(_RATES[b]), float(_POWERS[c])


def _slopes(overlaps: Floats) -> tuple[float, float]:
    """Give the fitted curve's slope at the first and the last point."""
    a, b, c = fit_curve(overlaps)

    def slope(time: float) -> float:
        return float(a * b * c * time ** (c - 1) * np.exp(-b * time**c))

    return slope(1), slope(len(overlaps))
