"""Say what became of each frame and scene between two groups of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weakseg.metrics import FrameFigures, group_table
from weakseg.stages.comparison.figures import Judged


@dataclass(frozen=True)
class FrameGap:
    """What became of a frame; means over the members of each group.

    Args:
        id: Of the frame.
        scene: Of the frame.
        has_smoke: Whether its truth shows smoke: then IoU is told, else the false area.
        base: IoU or false area of the base.
        other: Of the other group.
    """

    id: str
    scene: str
    has_smoke: bool
    base: float
    other: float

    @property
    def gain(self) -> float:
        """How much better the other is, below 0 for a regression."""
        return self.other - self.base if self.has_smoke else self.base - self.other

    def as_json(self) -> dict[str, Any]:
        """Give it ready for JSON."""
        return {
            "id": self.id,
            "scene": self.scene,
            "measure": "iou" if self.has_smoke else "false_area",
            "base": self.base,
            "other": self.other,
            "gain": self.gain,
        }


def frame_gaps(base: Judged, other: Judged) -> list[FrameGap]:
    """Give every frame that tells smoke from none, the worst regressions first."""
    gaps = [
        FrameGap(one[0].id, one[0].scene, one[0].has_smoke, _level(one), _level(two))
        for one, two in zip(_by_frame(base), _by_frame(other), strict=True)
        if one[0].has_smoke or one[0].is_smoke_free
    ]
    return sorted(gaps, key=lambda gap: (gap.gain, gap.id))


def regressions(gaps: Sequence[FrameGap], count: int) -> list[FrameGap]:
    """Take the frames with smoke that lost most."""
    return [gap for gap in gaps if gap.has_smoke and gap.gain < 0][:count]


def gains(gaps: Sequence[FrameGap], count: int) -> list[FrameGap]:
    """Take the frames with smoke that won most."""
    return [gap for gap in reversed(gaps) if gap.has_smoke and gap.gain > 0][:count]


def new_alarms(gaps: Sequence[FrameGap], count: int) -> list[FrameGap]:
    """Take the smoke-free frames on which most was added."""
    return [gap for gap in gaps if not gap.has_smoke and gap.gain < 0][:count]


def scene_rows(base: Judged, other: Judged) -> list[dict[str, float | str]]:
    """Give the IoU per image and false alarms of each scene, the one that lost most first."""
    sides = [_scenes(one) for one in (base, other)]
    rows: list[dict[str, float | str]] = []
    for scene, ours in sides[0].items():
        theirs = sides[1][scene]
        rows.append(
            {
                "scene": scene,
                "frames": ours["frames"],
                "base_iou": ours["iou_per_image"],
                "other_iou": theirs["iou_per_image"],
                "iou_difference": theirs["iou_per_image"] - ours["iou_per_image"],
                "smoke_free_frames": ours["smoke_free_frames"],
                "base_false_alarms": ours["false_alarm_share"],
                "other_false_alarms": theirs["false_alarm_share"],
            }
        )
    known = [row for row in rows if math.isfinite(float(row["iou_difference"]))]
    others = [row for row in rows if row not in known]
    return [*sorted(known, key=lambda row: float(row["iou_difference"])), *others]


def _scenes(judged: Judged) -> dict[str, dict[str, float]]:
    """Give each scene's figures, means over the members of the group."""
    tables = [group_table(frames, key="scene") for frames in judged.frames]
    return {
        str(rows[0]["scene"]): {
            key: float(np.mean([float(row[key]) for row in rows]))
            for key in ("frames", "iou_per_image", "smoke_free_frames", "false_alarm_share")
        }
        for rows in zip(*tables, strict=True)
    }


def _by_frame(judged: Judged) -> list[tuple[FrameFigures, ...]]:
    """Give each frame as every member of the group has it."""
    return list(zip(*judged.frames, strict=True))


def _level(frames: Sequence[FrameFigures]) -> float:
    values = [frame.iou if frame.has_smoke else frame.predicted_share for frame in frames]
    return math.fsum(values) / len(values)
