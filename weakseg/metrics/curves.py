"""Judge soft scores at all thresholds in one pass, and the threshold that was chosen."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from weakseg.arrays import Mask, ScoreMap
from weakseg.checks import check_in_unit, check_one_of, check_shape
from weakseg.labels import BACKGROUND, SMOKE
from weakseg.metrics.reliability import bin_rows, calibration_error

BINS = 256
RELIABILITY_BINS = 16

Curve = npt.NDArray[np.float64]


class ScoreCurves:
    """Collect frames' scores by truth, 256 levels fine, and read any threshold from them.

    A pixel is called smoke if its score is at least the threshold. Thresholds are multiples of
    1/256: those between count as the next higher one. Scores kept as 8-bit pictures lose nothing.
    """

    def __init__(self) -> None:
        """Start without frames."""
        self._smoke: list[npt.NDArray[np.int64]] = []
        self._other: list[npt.NDArray[np.int64]] = []
        self._sums = np.zeros(RELIABILITY_BINS)

    def add(self, scores: ScoreMap, truth: Mask) -> None:
        """Take in one frame.

        Args:
            scores: (H, W) float in [0, 1], of smoke.
            truth: (H, W) class ids; 255 does not count.

        Raises:
            ValueError: If the two do not cover the same pixels, or scores leave [0, 1].
        """
        check_shape((None, None), truth=truth)
        check_shape(truth.shape, scores=scores)
        if scores.size:
            check_in_unit(lowest_score=float(scores.min()), highest_score=float(scores.max()))
        # One number a pixel for level and truth: 0-255 smoke-free, 256-511 smoke, 512 ignored.
        places = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        places += np.where(truth == SMOKE, BINS, 0)
        places[(truth != SMOKE) & (truth != BACKGROUND)] = 2 * BINS
        flat = places.reshape(-1)
        counts = np.bincount(flat, minlength=2 * BINS + 1)[: 2 * BINS].reshape(2, BINS)
        self._other.append(counts[0])
        self._smoke.append(counts[1])
        sums = np.bincount(flat, weights=scores.reshape(-1), minlength=2 * BINS + 1)[: 2 * BINS]
        self._sums += sums.reshape(2, RELIABILITY_BINS, -1).sum(axis=(0, 2))

    def __len__(self) -> int:
        return len(self._smoke)

    @property
    def thresholds(self) -> Curve:
        """(256,) the thresholds of all curves, rising from 0."""
        return np.arange(BINS) / BINS

    def iou(self, average: str = "per_image") -> Curve:
        """Return the IoU of smoke at every threshold.

        Args:
            average: "per_image", a mean over frames with smoke, or "pooled" over all pixels.

        Returns:
            (256,) in [0, 1]; NaN where there is nothing to tell.
        """
        check_one_of(("per_image", "pooled"), average=average)
        found, alarms = _at_least(self._smoke), _at_least(self._other)  # (N, 256)
        if average == "pooled":
            found, alarms = found.sum(0, keepdims=True), alarms.sum(0, keepdims=True)
        there = found[:, :1]  # at threshold 0 everything is found
        has_smoke = there[:, 0] > 0
        if not has_smoke.any():
            return np.full(BINS, math.nan)
        overlaps = found[has_smoke] / (there + alarms)[has_smoke]
        return np.asarray(overlaps.mean(axis=0), dtype=np.float64)

    def peak(self, average: str = "per_image") -> tuple[float, float]:
        """Return the best threshold, known only to an oracle that sees the masks, and its IoU."""
        curve = self.iou(average)
        if not np.isfinite(curve).any():
            return math.nan, math.nan
        best = int(np.nanargmax(curve))
        return best / BINS, float(curve[best])

    def iou_at(self, threshold: float, average: str = "per_image") -> float:
        """Return the IoU of smoke at one threshold."""
        check_in_unit(threshold=threshold)
        return float(self.iou(average)[min(BINS - 1, math.ceil(threshold * BINS))])

    def areas_at(self, threshold: float) -> Curve:
        """Return the share of each frame that is called smoke at one threshold.

        Returns:
            (N,) in [0, 1], in the order the frames came; NaN where all of a frame is ignored.
        """
        check_in_unit(threshold=threshold)
        level = min(BINS - 1, math.ceil(threshold * BINS))
        called = _at_least(self._smoke) + _at_least(self._other)  # (N, 256)
        pixels = called[:, 0].astype(np.float64)
        pixels[pixels == 0] = math.nan
        return np.asarray(called[:, level] / pixels, dtype=np.float64)

    def pixel_average_precision(self) -> float:
        """Return the mean precision over all smoke pixels, found in the order of their scores."""
        hits = _at_least(self._smoke).sum(0)[::-1].astype(np.float64)
        alarms = _at_least(self._other).sum(0)[::-1].astype(np.float64)
        if len(self) == 0 or hits[-1] == 0:
            return math.nan
        gains = np.diff(hits, prepend=0.0) / hits[-1]
        return float(np.sum(gains * hits / np.maximum(hits + alarms, 1)))

    def reliability(self) -> list[dict[str, float]]:
        """Return 16 bins of the pixels' scores as `reliability_bins` does; none without frames."""
        if len(self) == 0:
            return []
        smoke, other = (
            np.sum(one, axis=0).reshape(RELIABILITY_BINS, -1).sum(1).astype(np.float64)
            for one in (self._smoke, self._other)
        )
        return bin_rows(smoke + other, self._sums, smoke)

    def summary(self, threshold: float | None = None) -> dict[str, float]:
        """Return the oracle's peaks, pixel AP and ECE, and what a chosen threshold loses.

        Args:
            threshold: One chosen without masks, in [0, 1]; None leaves its figures out.
        """
        figures = {
            "pixel_ap": self.pixel_average_precision(),
            "pixel_ece": calibration_error(self.reliability()),
        }
        for average in ("per_image", "pooled"):
            best_threshold, best = self.peak(average)
            figures[f"oracle_threshold_{average}"] = best_threshold
            figures[f"oracle_iou_{average}"] = best
            if threshold is not None:
                chosen = self.iou_at(threshold, average)
                figures[f"iou_{average}"] = chosen
                figures[f"oracle_gap_{average}"] = best - chosen
        if threshold is not None:
            figures["threshold"] = threshold
        return figures


def _at_least(histograms: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return (N, 256) how many pixels of each frame reach each level."""
    if not histograms:
        return np.zeros((0, BINS), dtype=np.int64)
    return np.cumsum(np.stack(histograms)[:, ::-1], axis=1)[:, ::-1]
