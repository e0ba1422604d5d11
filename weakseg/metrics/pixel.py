"""Count right and wrong pixels, and say what the counts mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from weakseg.arrays import Mask, ScoreMap
from weakseg.checks import check_at_least, check_shape
from weakseg.labels import IGNORE, SMOKE

F_BETA_SQUARED = 0.3
"""The square of beta that saliency detection and SMOKE5K use: precision counts more."""


@dataclass(frozen=True)
class PixelCounts:
    """How many pixels are smoke or not, in truth and as predicted; counts of frames add up.

    Args:
        tp: Smoke found.
        fp: Smoke found where there is none.
        fn: Smoke missed.
        tn: No smoke, and none found.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __post_init__(self) -> None:
        """Refuse negative counts."""
        check_at_least(0, tp=self.tp, fp=self.fp, fn=self.fn, tn=self.tn)

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def pixels(self) -> int:
        """All pixels that count."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def is_empty_on_empty(self) -> bool:
        """Whether there are pixels, none of them smoke and none found to be."""
        return self.pixels > 0 and self.tp + self.fp + self.fn == 0


def count(predicted: Mask, truth: Mask) -> PixelCounts:
    """Compare two masks; pixels that the truth ignores do not count.

    A predicted 255 counts as no smoke: whoever leaves a pixel open has not found smoke there.

    Args:
        predicted: (H, W) class ids.
        truth: (H, W) class ids, 255 for pixels nobody knows.

    Raises:
        ValueError: If the two do not cover the same pixels.
    """
    check_shape((None, None), truth=truth)
    check_shape(truth.shape, predicted=predicted)
    known = truth != IGNORE
    found = (predicted == SMOKE) & known
    there = truth == SMOKE
    tp = int(np.count_nonzero(found & there))
    all_found, all_there = int(np.count_nonzero(found)), int(np.count_nonzero(there))
    fp, fn = all_found - tp, all_there - tp
    return PixelCounts(tp, fp, fn, int(np.count_nonzero(known)) - tp - fp - fn)


def iou(counts: PixelCounts) -> float:
    """Return the overlap of smoke over its union: 1 if both are empty, NaN without pixels."""
    return _share(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def background_iou(counts: PixelCounts) -> float:
    """Return the overlap of background over its union: 1 if both are empty, NaN without pixels."""
    return _share(counts.tn, counts.tn + counts.fp + counts.fn, counts)


def miou(counts: PixelCounts) -> float:
    """Return the mean over the two classes of their IoU."""
    return (iou(counts) + background_iou(counts)) / 2


def precision(counts: PixelCounts) -> float:
    """Return the share of found smoke that is smoke.

    If none is found: 1 if there is none, else 0. NaN without pixels.
    """
    if counts.tp + counts.fp == 0 and counts.fn > 0:
        return 0.0
    return _share(counts.tp, counts.tp + counts.fp, counts)


def recall(counts: PixelCounts) -> float:
    """Return the share of smoke that is found.

    If there is none: 1 if none is found, else 0. NaN without pixels.
    """
    if counts.tp + counts.fn == 0 and counts.fp > 0:
        return 0.0
    return _share(counts.tp, counts.tp + counts.fn, counts)


def f_beta(counts: PixelCounts, *, beta2: float = F_BETA_SQUARED) -> float:
    """Return the weighted harmonic mean of precision and recall: 1 if both masks are empty.

    Args:
        counts: Of one frame, or summed over frames.
        beta2: The square of beta, how much recall counts beside precision, >= 0.
    """
    check_at_least(0, beta2=beta2)
    found = (1 + beta2) * counts.tp
    return _share(found, found + beta2 * counts.fn + counts.fp, counts)


def f1(counts: PixelCounts) -> float:
    """Return the harmonic mean of precision and recall: 1 if both masks are empty."""
    return f_beta(counts, beta2=1.0)


def mae(scores: ScoreMap, truth: Mask) -> float:
    """Return the mean distance of soft scores from the truth's 0 and 1; NaN if all is ignored.

    Args:
        scores: (H, W) float in [0, 1], of smoke.
        truth: (H, W) class ids; 255 does not count.
    """
    check_shape((None, None), truth=truth)
    check_shape(truth.shape, scores=scores)
    known = truth != IGNORE
    if not known.any():
        return math.nan
    return float(np.abs(scores[known] - (truth[known] == SMOKE)).mean(dtype=np.float64))


def _share(part: float, whole: float, counts: PixelCounts) -> float:
    """Return part / whole: 1 where there is nothing to find, NaN where there is nothing at all."""
    if counts.pixels == 0:
        return math.nan
    return part / whole if whole else 1.0
