"""Measure each frame once, and merge the frames' figures into those of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask, ScoreMap
from weakseg.checks import check_in_unit, check_one_of
from weakseg.metrics.alarms import MIN_AREA, false_alarm_share, false_area_mean
from weakseg.metrics.bootstrap import scene_interval
from weakseg.metrics.boundary import boundary_counts
from weakseg.metrics.image import image_figures
from weakseg.metrics.pixel import (
    PixelCounts,
    count,
    f1,
    f_beta,
    iou,
    mae,
    miou,
    precision,
    recall,
)

Numbers = npt.NDArray[np.float64]


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
    """

    id: str
    label: int
    scene: str
    counts: PixelCounts
    boundary: PixelCounts | None = None
    probability: float = math.nan
    mae: float = math.nan

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
    """
    return FrameFigures(
        id=id,
        label=label,
        scene=scene,
        counts=count(predicted, truth),
        boundary=boundary_counts(predicted, truth) if with_boundary else None,
        probability=probability,
        mae=math.nan if scores is None else mae(scores, truth),
    )


def summarise(
    frames: Sequence[FrameFigures],
    *,
    min_area: float = MIN_AREA,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Merge the frames' figures.

    Pooled over all pixels: `iou_pooled`, `miou`, `precision`, `recall`, `f1`, `f_beta`
    (beta^2 = 0.3). Means over the frames with smoke: `iou_per_image`, `boundary_iou`. Over the
    smoke-free frames: `false_alarm_share`, `false_area_mean`, and `empty_on_empty`, the share of
    them in which nothing is found, as is right. `mae` is a mean over all frames. Image-level
    figures are there if every frame has a probability. What cannot be known is NaN.

    Args:
        frames: At least one.
        min_area: Share of a frame beyond which something found is an alarm, in [0, 1].
        draws: Data sets drawn for the intervals `*_low` and `*_high`; 0 leaves them out.
        level: Share of the draws within an interval, in [0, 1].
        seed: Of the draws.

    Raises:
        ValueError: If there are no frames.
    """
    if not frames:
        raise ValueError("there are no frames to summarise")
    check_in_unit(min_area=min_area)
    total = sum((frame.counts for frame in frames), PixelCounts())
    smoky = [frame for frame in frames if frame.has_smoke]
    clear = [frame for frame in frames if frame.is_smoke_free]
    areas = [frame.predicted_share for frame in clear]
    boundaries = [iou(frame.boundary) for frame in smoky if frame.boundary is not None]
    figures: dict[str, float] = {
        "iou_per_image": _mean([frame.iou for frame in smoky]),
        "iou_pooled": iou(total),
        "miou": miou(total),
        "precision": precision(total),
        "recall": recall(total),
        "f1": f1(total),
        "f_beta": f_beta(total),
        "boundary_iou": _mean(boundaries),
        "mae": _mean([frame.mae for frame in frames]),
        "empty_on_empty": _mean([float(frame.counts.is_empty_on_empty) for frame in clear]),
        "false_alarm_share": false_alarm_share(areas, min_area=min_area),
        "false_area_mean": false_area_mean(areas),
        "frames": len(frames),
        "smoke_frames": len(smoky),
        "smoke_free_frames": len(clear),
        "scenes": len({frame.scene for frame in frames}),
    }
    if all(math.isfinite(frame.probability) for frame in frames):
        labels = [frame.label for frame in frames]
        figures.update(image_figures(labels, [frame.probability for frame in frames]))
    if draws:
        scenes = [frame.scene for frame in frames]
        for name, figure in _weighted_figures(frames, min_area).items():
            interval = scene_interval(scenes, figure, draws=draws, level=level, seed=seed)
            figures[f"{name}_low"], figures[f"{name}_high"] = interval
    return figures


def _weighted_figures(
    frames: Sequence[FrameFigures], min_area: float
) -> dict[str, Callable[[Numbers], float]]:
    """Return the figures that get an interval, as functions of how often each frame counts."""
    smoky = np.array([frame.has_smoke for frame in frames], dtype=np.float64)
    clear = np.array([frame.is_smoke_free for frame in frames], dtype=np.float64)
    overlaps = np.array([frame.iou if frame.has_smoke else 0.0 for frame in frames])
    alarms = np.array([frame.predicted_share > min_area for frame in frames], dtype=np.float64)
    common = np.array([frame.counts.tp for frame in frames], dtype=np.float64)
    union = np.array(
        [frame.counts.tp + frame.counts.fp + frame.counts.fn for frame in frames],
        dtype=np.float64,
    )
    return {
        "iou_per_image": lambda times: _ratio(times @ (smoky * overlaps), times @ smoky),
        # As in `iou`: nothing there and nothing found is right.
        "iou_pooled": lambda times: _ratio(times @ common, times @ union, empty=1.0),
        "false_alarm_share": lambda times: _ratio(times @ (clear * alarms), times @ clear),
    }


def _ratio(part: float, whole: float, *, empty: float = math.nan) -> float:
    return float(part / whole) if whole > 0 else empty


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the numbers among the values; NaN if there are none."""
    numbers = [value for value in values if math.isfinite(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
