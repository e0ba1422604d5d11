"""Tell small plumes from large ones, because a mean over all is a mean of the large."""

from __future__ import annotations

import math
from collections.abc import Sequence

from weakseg.metrics.alarms import false_alarm_share, false_area_mean
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


def group_table(frames: Sequence[FrameFigures], *, key: str) -> list[dict[str, float | str]]:
    """Return a row of figures for each scene, or whatever else a frame tells of itself.

    Args:
        frames: All of them, with smoke or without.
        key: Name of a text of `FrameFigures`, such as "scene".

    Returns:
        Rows in the order of their names. IoU and the like are of the frames with smoke,
        `false_alarm_share` and `false_area_mean` of the `smoke_free_frames`; NaN where there are
        none.
    """
    groups: dict[str, list[FrameFigures]] = {}
    for frame in frames:
        groups.setdefault(getattr(frame, key), []).append(frame)
    rows = []
    for name, members in sorted(groups.items()):
        clear = [frame.predicted_share for frame in members if frame.is_smoke_free]
        rows.append(
            {
                key: name,
                **_row([frame for frame in members if frame.has_smoke]),
                "smoke_free_frames": len(clear),
                "false_alarm_share": false_alarm_share(clear),
                "false_area_mean": false_area_mean(clear),
            }
        )
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
