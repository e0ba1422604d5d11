"""Judge what is found on frames without smoke, where weak supervision hides its mistakes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from weakseg.checks import check_in_unit, check_shape

MIN_AREA = 0.001
"""Smaller shares of a frame are specks, and no alarm."""


def false_alarm_share(areas: npt.ArrayLike, *, min_area: float = MIN_AREA) -> float:
    """Return the share of smoke-free frames in which more than `min_area` is called smoke.

    Args:
        areas: (N,) share in [0, 1] of each smoke-free frame that is called smoke.
        min_area: Largest share that is still no alarm, in [0, 1].

    Returns:
        A share in [0, 1]; NaN if there are no frames.
    """
    check_in_unit(min_area=min_area)
    shares = np.asarray(areas, dtype=np.float64)
    check_shape((None,), areas=shares)
    return float(np.mean(shares > min_area)) if len(shares) else math.nan


def false_area_mean(areas: npt.ArrayLike) -> float:
    """Return the mean share of a smoke-free frame that is called smoke; NaN without frames."""
    shares = np.asarray(areas, dtype=np.float64)
    check_shape((None,), areas=shares)
    return float(np.mean(shares)) if len(shares) else math.nan
