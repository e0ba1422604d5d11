"""Leave out of a pseudo-mask what is least sure: its edges, and scores near the cut."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask, ScoreMap
from weakseg.checks import check_at_least, check_in_unit, check_shape
from weakseg.labels import BACKGROUND, IGNORE, SMOKE


def ignore_near_edges(mask: Mask, *, pixels: float) -> Mask:
    """Ignore the pixels on both sides of the line between smoke and background.

    Where smoke ends, people and networks agree least. What the mask ignores already has no edge
    with either class, and the frame's border is none. A plume thinner than twice the band
    is ignored as a whole.

    Args:
        mask: (H, W) uint8: 0 background, 1 smoke, 255 ignore.
        pixels: Distance between the centres of a pixel and the nearest of the other class up to
            which it is ignored, >= 0; below 1 nothing is.

    Returns:
        (H, W) uint8, a copy.
    """
    check_shape((None, None), mask=mask)
    check_at_least(0, pixels=pixels)
    found = mask.copy()
    for own, other in ((SMOKE, BACKGROUND), (BACKGROUND, SMOKE)):
        found[(mask == own) & (_distance_to(mask == other) <= pixels)] = IGNORE
    return found


def ignore_uncertain(mask: Mask, smoke: ScoreMap, *, threshold: float, width: float) -> Mask:
    """Ignore the pixels whose score is near the cut.

    Args:
        mask: (H, W) uint8: 0 background, 1 smoke, 255 ignore.
        smoke: (H, W) float32 in [0, 1], the scores it was cut from.
        threshold: The cut, in [0, 1].
        width: Of the band, in [0, 1]; half of it lies on each side of the cut. 0 is no band.

    Returns:
        (H, W) uint8, a copy.

    Raises:
        ValueError: If the two do not cover the same pixels.
    """
    check_shape((None, None), mask=mask)
    check_shape(mask.shape, smoke=smoke)
    check_in_unit(threshold=threshold, width=width)
    found = mask.copy()
    if width > 0:
        found[np.abs(smoke.astype(np.float64) - threshold) <= width / 2] = IGNORE
    return found


def _distance_to(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Give each pixel's distance to the nearest pixel of `region`; without one, infinity."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    outside = (~region).astype(np.uint8)
    found: npt.NDArray[np.float32] = np.asarray(
        cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), dtype=np.float32
    )
    return found
