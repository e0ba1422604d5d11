"""Measure each frame once: what it adds to the figures of a data set."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weakseg.arrays import FrameArray, Mask, ScoreMap
from weakseg.checks import check_one_of
from weakseg.metrics.boundary import boundary_counts
from weakseg.metrics.opacity import smoke_opacity
from weakseg.metrics.pixel import PixelCounts, count, iou, mae
from weakseg.metrics.temporal import Change


@dataclass(frozen=True)
class FrameFigures:
    """What one frame adds to a data set's figures.

    Args:
        id: Of the frame.
        label: 1 with smoke, 0 without.
        scene: What it was filmed in; frames of a scene are near copies.
        counts: Its pixels.
        boundary: Its pixels near edges; None if not measured.
        probability: Of smoke in the frame, in [0, 1]; NaN if not known.
        mae: Mean distance of its soft scores from the truth; NaN if not measured.
        opacity: Of its smoke, in [0, 1]; see `smoke_opacity`. NaN if not measured.
        camera: What filmed it; "" if not known.
        sequence: The video it came from; "" if not known.
        change: Since the frame before in the same sequence; None if there is none.
    """

    id: str
    label: int
    scene: str
    counts: PixelCounts
    boundary: PixelCounts | None = None
    probability: float = math.nan
    mae: float = math.nan
    opacity: float = math.nan
    camera: str = ""
    sequence: str = ""
    change: Change | None = None

    def __post_init__(self) -> None:
        """Refuse labels that are none."""
        check_one_of((0, 1), label=self.label)

    @property
    def smoke_share(self) -> float:
        """Share of the frame that is smoke; NaN if all of it is ignored."""
        there = self.counts.tp + self.counts.fn
        return there / self.counts.pixels if self.counts.pixels else math.nan

    @property
    def predicted_share(self) -> float:
        """Share of the frame that is called smoke; NaN if all of it is ignored."""
        found = self.counts.tp + self.counts.fp
        return found / self.counts.pixels if self.counts.pixels else math.nan

    @property
    def iou(self) -> float:
        """Of smoke: 1 if there is none and none is found."""
        return iou(self.counts)

    @property
    def has_smoke(self) -> bool:
        """Whether the truth shows a pixel of smoke."""
        return self.counts.tp + self.counts.fn > 0

    @property
    def is_smoke_free(self) -> bool:
        """Whether any smoke found here is a false alarm."""
        return self.label == 0 and not self.has_smoke and self.counts.pixels > 0


def measure(
    predicted: Mask,
    truth: Mask,
    *,
    id: str,
    label: int,
    scene: str,
    scores: ScoreMap | None = None,
    probability: float = math.nan,
    with_boundary: bool = True,
    pixels: FrameArray | None = None,
    camera: str = "",
    sequence: str = "",
    change: Change | None = None,
) -> FrameFigures:
    """Measure one frame.

    Args:
        predicted: (H, W) class ids.
        truth: (H, W) class ids; 255 does not count.
        id: Of the frame.
        label: 1 with smoke, 0 without.
        scene: What it was filmed in.
        scores: (H, W) float in [0, 1], soft scores of smoke; None leaves MAE out.
        probability: Of smoke in the frame; NaN if not known.
        with_boundary: Whether to measure boundaries, which takes longer than all the rest.
        pixels: (H, W, 3) uint8, RGB, to measure the opacity of its smoke; None leaves it out.
        camera: What filmed it, if known.
        sequence: The video it came from, if known.
        change: Since the frame before in the same sequence.
    """
    return FrameFigures(
        id=id,
        label=label,
        scene=scene,
        counts=count(predicted, truth),
        boundary=boundary_counts(predicted, truth) if with_boundary else None,
        probability=probability,
        mae=math.nan if scores is None else mae(scores, truth),
        opacity=math.nan if pixels is None else smoke_opacity(pixels, truth),
        camera=camera,
        sequence=sequence,
        change=change,
    )
