"""Turn scores into questions to SAM: regions, their boxes and their peaks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import ScoreMap
from weakseg.checks import check_at_least, check_shape

BoolMap = npt.NDArray[np.bool_]
Coordinates = npt.NDArray[np.float32]


def regions_of(region: BoolMap, *, limit: int, min_pixels: int = 1) -> list[BoolMap]:
    """Return the 8-connected components of `region`, the largest first.

    Args:
        region: (H, W) bool.
        limit: At most this many, at least 1.
        min_pixels: Smaller components are left out.
    """
    check_at_least(1, limit=limit)
    count, ids, stats, _ = cv2.connectedComponentsWithStats(
        region.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    areas = stats[1:count, cv2.CC_STAT_AREA]
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] >= min_pixels]
    return [ids == i + 1 for i in order[:limit]]


def box_of(region: BoolMap) -> Coordinates:
    """Return the box (x0, y0, x1, y1) in pixels that encloses a region that is not empty."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def peaks_of(score: ScoreMap, region: BoolMap, *, limit: int) -> Coordinates:
    """Return the highest pixels of a region, spread over it.

    The next peak is the highest pixel that is further from the earlier ones than a quarter of the
    longer side of the region's box.

    Args:
        score: (H, W) float32, what makes a pixel high.
        region: (H, W) bool, not empty.
        limit: At most this many, at least 1.

    Returns:
        (N, 2) float32 (x, y) in pixels, 1 <= N <= `limit`, the highest first.
    """
    check_at_least(1, limit=limit)
    check_shape(score.shape, region=region)
    box = box_of(region)
    reach = max(box[2] - box[0], box[3] - box[1]) / 4
    y, x = np.nonzero(region)
    left = score[y, x].astype(np.float64)
    peaks: list[tuple[float, float]] = []
    while len(peaks) < limit and np.isfinite(left).any():
        best = int(np.argmax(left))
        peaks.append((float(x[best]), float(y[best])))
        left[np.hypot(x - x[best], y - y[best]) <= reach] = -np.inf
    return np.array(peaks, np.float32)


def grid_within(region: BoolMap, *, points_per_side: int) -> Coordinates:
    """Return the points of SAM's grid over the frame that fall into the box of a region.

    Args:
        region: (H, W) bool, not empty.
        points_per_side: Points along each side of the whole frame, at least 1.

    Returns:
        (N, 2) float32 (x, y) in pixels; N is 0 where the box slips between the points.
    """
    check_at_least(1, points_per_side=points_per_side)
    height, width = region.shape
    steps = (np.arange(points_per_side) + 0.5) / points_per_side
    x, y = (axis.ravel() for axis in np.meshgrid(steps * width, steps * height))
    x0, y0, x1, y1 = box_of(region)
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return np.stack([x[inside], y[inside]], axis=1).astype(np.float32)


def points_on(
    regions: Sequence[BoolMap], score: ScoreMap, *, points_per_side: int, peaks: int
) -> Coordinates:
    """Return the points of SAM's grid in the boxes of regions, and their peaks: (N, 2), sorted.

    Args:
        regions: (H, W) bool each, none empty, one at least.
        score: (H, W) float32, what makes a pixel high.
        points_per_side: As `grid_within`.
        peaks: At most this many a region, at least 1.
    """
    found = [grid_within(region, points_per_side=points_per_side) for region in regions]
    found += [peaks_of(score, region, limit=peaks) for region in regions]
    return np.unique(np.concatenate(found), axis=0)
