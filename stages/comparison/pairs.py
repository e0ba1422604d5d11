"""Set one group of runs beside another: all that differs between the two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from weakseg.metrics import SceneDraws
from weakseg.stages.comparison.figures import (
    Difference,
    Judged,
    differences,
    sentence,
    stratum_differences,
)
from weakseg.stages.comparison.frames import FrameGap, frame_gaps

STRATA: Final = ("size", "opacity")
_SAID: Final = ("iou_per_image", "false_alarm_share")
"""Figures that are said in words."""


@dataclass(frozen=True)
class Comparison:
    """One group beside the base.

    Args:
        base: What is compared with.
        other: What is compared.
        figures: Differences of all figures.
        strata: "size" and "opacity" -> stratum, frames and difference in IoU per image.
        frames: What became of each frame.
    """

    base: Judged
    other: Judged
    figures: Sequence[Difference]
    strata: Mapping[str, Sequence[tuple[str, int, Difference]]]
    frames: Sequence[FrameGap]

    @property
    def sentences(self) -> list[str]:
        """The main differences in words."""
        names = self.base.group.name, self.other.group.name
        return [sentence(gap, *names) for gap in self.figures if gap.figure in _SAID]


def compare(base: Judged, other: Judged, drawn: SceneDraws, *, seed: int) -> Comparison:
    """Compare a group with the base, by the draws that both were judged by."""
    return Comparison(
        base,
        other,
        differences(base, other, drawn, seed=seed),
        {by: stratum_differences(base, other, drawn, by=by, seed=seed) for by in STRATA},
        frame_gaps(base, other),
    )
