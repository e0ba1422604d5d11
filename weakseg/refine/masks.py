"""Cut scores into pseudo-masks: smoke, background, and the pixels nobody should learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask, ScoreMap
from weakseg.checks import check_in_unit, check_positive, check_shape
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.refine.choice import ThresholdChoice

BoolMap = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskRule:
    """Cut smoke scores by a chosen threshold into a pseudo-mask.

    Args:
        ignore_band: Leave out the pixels between the choice's `low` and `high`; without it the
            threshold alone decides, and no pixel is ignored.
        min_area: Share of the frame's pixels, in [0, 1], below which a smoke region is not
            believed: a speck is ignored where there is a band, and background where there is none.
    """

    ignore_band: bool = True
    min_area: float = 0.001

    def __post_init__(self) -> None:
        """Refuse a share outside [0, 1]."""
        check_in_unit(min_area=self.min_area)

    def __call__(self, smoke: ScoreMap, choice: ThresholdChoice) -> Mask:
        """Return the (H, W) pseudo-mask of the smoke scores (H, W)."""
        band = (choice.low, choice.high) if self.ignore_band else None
        return to_mask(smoke, threshold=choice.threshold, ignore_band=band, min_area=self.min_area)

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        return asdict(self)


def to_mask(
    smoke: ScoreMap,
    *,
    threshold: float,
    ignore_band: tuple[float, float] | None = None,
    min_area: float = 0.0,
) -> Mask:
    """Cut smoke scores into class ids.

    Smoke is where the score reaches the band's upper end, background where it stays below its
    lower end, and between the two the pixel is ignored. Without a band the threshold alone decides.
    A score of exactly 0 is background whatever the band says.

    Args:
        smoke: (H, W) float32 in [0, 1], the smoke scores.
        threshold: Smoke score in (0, 1] from which a pixel is smoke.
        ignore_band: (low, high) scores around the threshold; None or equal ends: no band.
        min_area: Share of the frame's pixels, in [0, 1], below which an 8-connected smoke region
            is not believed: it is ignored where there is a band, else background.

    Returns:
        (H, W) uint8: 0 background, 1 smoke, 255 ignore.

    Raises:
        ValueError: If the band does not enclose the threshold.
    """
    check_shape((None, None), smoke=smoke)
    check_in_unit(threshold=threshold, min_area=min_area)
    check_positive(threshold=threshold)
    low, high = ignore_band if ignore_band is not None else (threshold, threshold)
    if not 0 <= low <= threshold <= high <= 1:
        raise ValueError(
            f"ignore_band must lie in [0, 1] and enclose the threshold {threshold:g}, "
            f"got {low:g} to {high:g}"
        )
    sure = smoke >= high
    unsure = (smoke >= low) & ~sure & (smoke > 0)
    believed = keep_large(sure, min_area=min_area)
    mask = np.full(smoke.shape, BACKGROUND, np.uint8)
    mask[unsure] = IGNORE
    mask[sure & ~believed] = IGNORE if high > low else BACKGROUND
    mask[believed] = SMOKE
    return mask


def keep_large(region: BoolMap, *, min_area: float) -> BoolMap:
    """Return `region` without its 8-connected components below a share of the frame.

    Args:
        region: (H, W) bool.
        min_area: Share of the frame's pixels, in [0, 1].
    """
    check_in_unit(min_area=min_area)
    count, ids, stats, _ = cv2.connectedComponentsWithStats(
        region.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    large = stats[:count, cv2.CC_STAT_AREA] >= min_area * region.size
    large[0] = False  # The component 0 is everything outside the region.
    kept: BoolMap = large[ids]
    return kept


def confidence(smoke: ScoreMap, *, threshold: float, floor: float = 0.0) -> ScoreMap:
    """Return how far each pixel is from the cut: a weight for a loss.

    Linear on both sides: `floor` at the threshold, 1 at the smoke scores 0 and 1.

    Args:
        smoke: (H, W) float32 in [0, 1], the smoke scores.
        threshold: The cut between the classes, in (0, 1).
        floor: Confidence at the threshold, in [0, 1].

    Returns:
        (H, W) float32 in [floor, 1].
    """
    check_shape((None, None), smoke=smoke)
    check_in_unit(floor=floor)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie inside (0, 1), got {threshold}")
    score = np.clip(smoke.astype(np.float64), 0, 1)
    above = (score - threshold) / (1 - threshold)
    below = (threshold - score) / threshold
    distance = np.where(score >= threshold, above, below)
    return (floor + (1 - floor) * distance).astype(np.float32)
