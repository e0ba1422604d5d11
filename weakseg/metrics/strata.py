"""Tell small plumes from large ones, and faint from dense: a mean over all is one of the easy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from weakseg.metrics.alarms import false_alarm_share, false_area_mean
from weakseg.metrics.frames import FrameFigures
from weakseg.metrics.pixel import PixelCounts, iou, precision, recall

SIZE_BOUNDS = (0.005, 0.025)
"""Shares of the frame at which small plumes become medium, and medium ones large."""

OPACITY_BOUNDS = (0.05, 0.10)
"""Opacities (see `smoke_opacity`) at which faint smoke becomes medium, and medium smoke dense.

They part the smoke of wildfire cameras into about equal thirds; 0.023 is just noticeable."""

UNKNOWN = "unknown"

Row = dict[str, float | str]


def size_stratum(smoke_share: float, *, bounds: tuple[float, float] = SIZE_BOUNDS) -> str:
    """Return small, medium or large for a share of the frame above 0."""
    return _stratum(smoke_share, bounds, ("small", "medium", "large"))


def opacity_stratum(opacity: float, *, bounds: tuple[float, float] = OPACITY_BOUNDS) -> str:
    """Return faint, medium or dense for an opacity, and unknown for NaN."""
    return _stratum(opacity, bounds, ("faint", "medium", "dense"))


def size_table(
    frames: Sequence[FrameFigures], *, bounds: tuple[float, float] = SIZE_BOUNDS
) -> list[Row]:
    """Return a row of figures for the frames with small, medium and large plumes.

    Args:
        frames: Those without smoke are left out.
        bounds: Shares of the frame that divide the strata, rising, in (0, 1).

    Raises:
        ValueError: If the bounds do not rise within (0, 1).
    """
    _check(bounds)
    return _table(
        frames,
        ("small", "medium", "large"),
        lambda frame: size_stratum(frame.smoke_share, bounds=bounds),
    )


def opacity_table(
    frames: Sequence[FrameFigures], *, bounds: tuple[float, float] = OPACITY_BOUNDS
) -> list[Row]:
    """Return a row of figures for the frames with faint, medium and dense smoke.

    Args:
        frames: Those without smoke are left out. Smoke that fills all of a frame has nothing to
            stand out from: it gets a row called unknown, if there is any.
        bounds: Opacities that divide the strata, rising, in (0, 1).

    Returns:
        The rows of `size_table`, with `opacity_mean`; none if no opacity was measured.

    Raises:
        ValueError: If the bounds do not rise within (0, 1).
    """
    _check(bounds)
    if not any(math.isfinite(frame.opacity) for frame in frames):
        return []
    names = ("faint", "medium", "dense", UNKNOWN)
    rows = _table(frames, names, lambda frame: opacity_stratum(frame.opacity, bounds=bounds))
    return [row for row in rows if row["frames"] or row["stratum"] != UNKNOWN]


def group_table(frames: Sequence[FrameFigures], *, key: str) -> list[Row]:
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


def _table(
    frames: Sequence[FrameFigures], names: Sequence[str], stratum: Callable[[FrameFigures], str]
) -> list[Row]:
    members: dict[str, list[FrameFigures]] = {name: [] for name in names}
    for frame in frames:
        if frame.has_smoke:
            members[stratum(frame)].append(frame)
    return [{"stratum": name, **_row(group)} for name, group in members.items()]


def _stratum(value: float, bounds: tuple[float, float], names: tuple[str, str, str]) -> str:
    if math.isnan(value):
        return UNKNOWN
    return names[sum(bool(value >= bound) for bound in bounds)]


def _check(bounds: tuple[float, float]) -> None:
    if not 0 < bounds[0] < bounds[1] < 1:
        raise ValueError(f"bounds must rise within (0, 1), got {bounds}")


def _row(members: Sequence[FrameFigures]) -> Row:
    total = sum((frame.counts for frame in members), PixelCounts())
    known = [frame.opacity for frame in members if math.isfinite(frame.opacity)]
    return {
        "frames": len(members),
        "smoke_share_mean": _mean([frame.smoke_share for frame in members]),
        "opacity_mean": _mean(known),
        "iou_per_image": _mean([frame.iou for frame in members]),
        "iou_pooled": iou(total),
        "precision": precision(total),
        "recall": recall(total),
        "missed_share": _mean([float(frame.counts.tp == 0) for frame in members]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
