"""Say how much smoke stands out in its frame, because faint smoke is what is missed."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from weakseg.arrays import FrameArray, Mask
from weakseg.checks import check_positive, check_shape
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.metrics.boundary import DILATION

LAB_RANGE: Final = 100.0
"""Distance in CIELAB between black and white, which counts as opacity 1."""


def smoke_opacity(frame: FrameArray, truth: Mask, *, dilation: float = DILATION) -> float:
    """Return how far the colour of the smoke is from that of what surrounds it.

    The distance in CIELAB between the mean colour of all smoke and the mean colour of a ring
    around it, over the distance of black and white. Smoke of one colour before an even background
    gives a number that grows with its opacity; it is a contrast and no physical measurement: white
    smoke before a white sky is faint however dense it is, and that is what a camera sees.

    Args:
        frame: (H, W, 3) uint8, RGB.
        truth: (H, W) class ids; ignored pixels are neither smoke nor ring.
        dilation: Width of the ring, as a share of the frame's diagonal, > 0.

    Returns:
        A number in [0, 1]; NaN without smoke, or where nothing but smoke is known around it.

    References:
        CIE 1976 L*a*b* colour difference; a difference of 0.023 here is just noticeable (Mahy et
        al., "Evaluation of Uniform Color Spaces Developed after the Adoption of CIELAB and
        CIELUV", 1994).
    """
    check_shape((None, None), truth=truth)
    check_shape((*truth.shape, 3), frame=frame)
    check_positive(dilation=dilation)
    smoke = truth == SMOKE
    if not smoke.any():
        return math.nan
    width = max(1, round(dilation * float(np.hypot(*truth.shape))))
    rows, columns = (_reach(smoke.any(axis=axis), width) for axis in (1, 0))
    near, inside = truth[rows, columns], smoke[rows, columns]
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=width)
    ring = (grown > 0) & (near == BACKGROUND)
    if not ring.any():
        return math.nan
    colours = frame[rows, columns]
    distance = np.linalg.norm(_mean_lab(colours[inside]) - _mean_lab(colours[ring]))
    return min(1.0, float(distance) / LAB_RANGE)


def _reach(there: np.ndarray, width: int) -> slice:
    """Return the stretch of an axis that holds all smoke and the ring around it."""
    places = np.flatnonzero(there)
    return slice(max(0, int(places[0]) - width), int(places[-1]) + width + 1)


def _mean_lab(colours: np.ndarray) -> np.ndarray:
    """Return the mean CIELAB colour of (N, 3) uint8 RGB."""
    scaled = colours[None].astype(np.float32) / np.float32(255)
    colour: np.ndarray = cv2.cvtColor(scaled, cv2.COLOR_RGB2LAB)[0].mean(axis=0, dtype=np.float64)
    return colour
