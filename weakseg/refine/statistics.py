"""Count the scores of a training set, frame by frame: all that a threshold rule may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakseg.arrays import ScoreMap
from weakseg.checks import check_in_unit, check_one_of, check_shape
from weakseg.labels import SMOKE

BINS: Final = 256
"""Bins over [0, 1]: bin i holds the scores in [i / 256, (i + 1) / 256), the last one also 1."""

Counts = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrameStatistics:
    """Hold one frame's histogram of scores beside its label and its probability of smoke."""

    frame_id: str
    label: int
    probability: float
    counts: Counts

    def __post_init__(self) -> None:
        """Refuse what no frame can have counted."""
        check_one_of((0, 1), label=self.label)
        check_in_unit(probability=self.probability)
        check_shape((BINS,), counts=self.counts)
        if self.counts.sum() <= 0 or self.counts.min() < 0:
            raise ValueError(f"the histogram of frame {self.frame_id} must count some pixels")

    @property
    def shares(self) -> Shares:
        """(256,) share of the frame's pixels in each bin."""
        return np.asarray(self.counts / self.counts.sum(), np.float64)

    @property
    def shares_above(self) -> Shares:
        """(256,) share of the pixels at or above each bin's lower edge: exact, never growing."""
        tail = np.cumsum(self.counts[::-1])[::-1]
        return np.asarray(tail / tail[0], np.float64)


class EvidenceStatistics:
    """Accumulate the scores of frames with labels, to choose thresholds without any mask.

    Frames may come in any order and be counted in parts: parts merge, and equal frames give equal
    statistics. No mask can enter here, and no pixel's place is kept.
    """

    def __init__(self, frames: Iterable[FrameStatistics] = ()) -> None:
        """Start from `frames` already counted."""
        self._frames: dict[str, FrameStatistics] = {}
        for frame in frames:
            self._insert(frame)

    def add(self, frame_id: str, smoke: ScoreMap, *, label: int, probability: float) -> None:
        """Count one frame.

        Args:
            frame_id: Unique name of the frame.
            smoke: (H, W) float32 in [0, 1], the smoke scores that will be cut.
            label: 1 for a frame labelled smoke, 0 for a smoke-free one.
            probability: The classifier's probability of smoke, in [0, 1].
        """
        check_shape((None, None), smoke=smoke)
        # Times a power of two is exact, so a tail of bins holds just the pixels `>= i / 256`.
        bins = np.clip(smoke * BINS, 0, BINS - 1).astype(np.int64)
        counts = np.bincount(bins.ravel(), minlength=BINS).astype(np.int64)
        self._insert(FrameStatistics(frame_id, label, probability, counts))

    def merge(self, other: EvidenceStatistics) -> EvidenceStatistics:
        """Return the statistics of both parts; a frame in both is refused."""
        return EvidenceStatistics([*self.frames(), *other.frames()])

    def frames(
        self, *, label: int | None = None, min_probability: float = 0.0
    ) -> list[FrameStatistics]:
        """Return the frames in the order of their ids, by label and probability where asked."""
        return [
            frame
            for _, frame in sorted(self._frames.items())
            if (label is None or frame.label == label) and frame.probability >= min_probability
        ]

    def smoke_frames(self, *, min_probability: float) -> list[FrameStatistics]:
        """Return the frames labelled smoke that the classifier agrees on, or all if on none.

        Raises:
            ValueError: If no frame is labelled smoke.
        """
        every = self.frames(label=SMOKE)
        if not every:
            raise ValueError("no frame labelled smoke was counted: the rule needs some")
        return self.frames(label=SMOKE, min_probability=min_probability) or every

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics ready for JSON, empty bins left out."""
        return {"bins": BINS, "frames": [_frame_to_dict(frame) for frame in self.frames()]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> EvidenceStatistics:
        """Rebuild statistics from what `to_dict` returned."""
        if stored["bins"] != BINS:
            raise ValueError(f"the statistics hold {stored['bins']} bins, expected {BINS}")
        return cls(_frame_from_dict(frame) for frame in stored["frames"])

    def __len__(self) -> int:
        """Return the number of frames counted."""
        return len(self._frames)

    def _insert(self, frame: FrameStatistics) -> None:
        if frame.frame_id in self._frames:
            raise ValueError(f"frame {frame.frame_id} was counted twice")
        self._frames[frame.frame_id] = frame


def pooled_shares(frames: Iterable[FrameStatistics]) -> Shares:
    """Return the mean histogram (256,) of shares: every frame counts the same, large or small."""
    return np.asarray(np.mean([frame.shares for frame in frames], axis=0), np.float64)


def _frame_to_dict(frame: FrameStatistics) -> dict[str, Any]:
    filled = np.flatnonzero(frame.counts)
    return {
        "id": frame.frame_id,
        "label": frame.label,
        "probability": frame.probability,
        "filled": filled.tolist(),
        "counts": frame.counts[filled].tolist(),
    }


def _frame_from_dict(stored: Mapping[str, Any]) -> FrameStatistics:
    counts = np.zeros(BINS, np.int64)
    counts[stored["filled"]] = stored["counts"]
    return FrameStatistics(stored["id"], stored["label"], stored["probability"], counts)
