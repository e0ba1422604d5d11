"""Tell small plumes from large ones, because a mean over all is a mean of the large."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weakseg.metrics.frames import FrameFigures
from weakseg.metrics.pixel import PixelCounts, iou, precision, recall

SIZE_BOUNDS = (0.005, 0.025)
"""Shares of the frame at which small plumes become medium, and medium ones large."""


def size_stratum(smoke_share: float, *, bounds: tuple[float, float] = SIZE_BOUNDS) -> str:
    """Return small, medium or large for a share of the frame above 0."""
    if smoke_share < bounds[0]:
        return "small"
    return "medium" if smoke_share < bounds[1] else "large"


def size_table(
    frames: Sequence[FrameFigures], *, bounds: tuple[float, float] = SIZE_BOUNDS
) -> list[dict[str, float | str]]:
    """Return a row of figures for the frames with small, medium and large plumes.

    Args:
        frames: Those without smoke are left out.
        bounds: Shares of the frame that divide the strata, rising, in (0, 1).

    Raises:
        ValueError: If the bounds do not rise within (0, 1).
    """
    if not 0 < bounds[0] < bounds[1] < 1:
        raise ValueError(f"bounds must rise within (0, 1), got {bounds}")
    rows = []
    for name in ("small", "medium", "large"):
        members = [
            frame
            for frame in frames
            if frame.has_smoke and size_stratum(frame.smoke_share, bounds=bounds) == name
        ]
        rows.append({"stratum": name, **_row(members)})
    return rows


def _row(members: Sequence[FrameFigures]) -> dict[str, float | str]:
    total = sum((frame.counts for frame in members), PixelCounts())
    count = len(members)
    return {
        "frames": count,
        "smoke_share_mean": sum(f.smoke_share for f in members) / count if count else math.nan,
        "iou_per_image": sum(f.iou for f in members) / count if count else math.nan,
        "iou_pooled": iou(total),
        "precision": precision(total),
        "recall": recall(total),
        "missed_share": sum(f.counts.tp == 0 for f in members) / count if count else math.nan,
    }
