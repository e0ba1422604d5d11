"""Turn raw CAMs into evidence: absolute, comparable between frames, empty without smoke."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from weakseg.arrays import FloatArray, ScoreMap
from weakseg.cam.platt import fit_platt, sigmoid
from weakseg.checks import check_in_unit, check_one_of, check_positive

log = logging.getLogger(__name__)

QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)
"""Kept of every frame's raw map; 1.0 is its maximum."""

TRAIN, VAL = "train", "val"
_ENOUGH = 8


@dataclass(frozen=True)
class Calibration:
    """How raw CAM values and logits become evidence, the same for every frame.

    evidence = clip((raw - offset) / scale, 0, 1) * sigmoid(logit_slope * logit + logit_bias)

    Args:
        offset: Raw value, in logits, up to which a pixel counts as no evidence, >= 0.
        scale: Raw value above the offset at which a pixel counts as full evidence, > 0.
        logit_slope: Slope of the logit's calibration (Platt scaling), >= 0.
        logit_bias: Its bias.
    """

    offset: float = 0.0
    scale: float = 1.0
    logit_slope: float = 1.0
    logit_bias: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_positive(scale=self.scale)
        if self.offset < 0 or self.logit_slope < 0:
            raise ValueError(
                "offset and logit_slope must be at least 0, "
                f"got {self.offset} and {self.logit_slope}"
            )

    def probability(self, logit: float) -> float:
        """Give the calibrated probability that the frame shows smoke."""
        return float(sigmoid(self.logit_slope * logit + self.logit_bias))

    def evidence(self, raw: FloatArray, logit: float) -> ScoreMap:
        """Give the evidence of smoke at every position.

        Args:
            raw: (h, w) floating, >= 0: a map of `CamRecipe.raw_cam`.
            logit: The frame's logit, from the same recipe.

        Returns:
            (h, w) float32 in [0, 1]; at most the frame's probability of smoke.
        """
        strength = (np.asarray(raw, dtype=np.float32) - self.offset) / self.scale
        return np.asarray(np.clip(strength, 0, 1) * self.probability(logit), dtype=np.float32)

    def to_dict(self) -> dict[str, float]:
        """Give the four numbers for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` gave."""
        return cls(**{name: float(values[name]) for name in cls.__dataclass_fields__})


@dataclass
class CalibrationStatistics:
    """What calibration needs of the frames: a few quantiles each, gathered one frame at a time."""

    quantiles: list[tuple[float, ...]] = field(default_factory=list)
    logits: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)

    def add(self, raw: FloatArray, logit: float, *, label: int, split: str = TRAIN) -> None:
        """Take one frame's raw map (h, w), its logit, its image label and its split."""
        check_one_of((0, 1), label=label)
        values = np.quantile(np.asarray(raw, dtype=np.float64), QUANTILES)
        self.quantiles.append(tuple(float(value) for value in values))
        self.logits.append(float(logit))
        self.labels.append(int(label))
        self.splits.append(split)

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.labels)

    def of(self, quantile: float, *, label: int, split: str = TRAIN) -> npt.NDArray[np.float64]:
        """Give one quantile of every frame with this label and split."""
        check_one_of(QUANTILES, quantile=quantile)
        index = QUANTILES.index(quantile)
        return np.array(
            [
                values[index]
                for values, own_label, own_split in zip(
                    self.quantiles, self.labels, self.splits, strict=True
                )
                if own_label == label and own_split == split
            ]
        )


def calibrate(
    statistics: CalibrationStatistics,
    *,
    background_quantile: float = 0.95,
    peak_quantile: float = 0.99,
    strong_share: float = 0.5,
) -> Calibration:
    """Choose the calibration from image labels alone; no mask has a part in it.

    * `offset` is the median, over smoke-free training frames, of the `background_quantile` of a
      frame's raw map: in the typical frame without smoke 95 % of the pixels are no evidence.
    * `scale` is chosen so that the stronger half (`strong_share`) of the training frames with
      smoke have their peak at full evidence, a peak being the `peak_quantile` of the map. If the
      classifier has learnt so little that these peaks lie below the offset, the offset is set to
      0, and `scale` to those peaks.
    * The logit's slope and bias are fitted by Platt scaling, on the `val` frames if there are at
      least 8 of either label (the network has not seen them), else on the training frames.

    Args:
        statistics: At least one training frame of either label.
        background_quantile: One of `QUANTILES`.
        peak_quantile: One of `QUANTILES`.
        strong_share: In [0, 1].

    Raises:
        ValueError: If a label is missing among the training frames.
    """
    check_in_unit(strong_share=strong_share)
    calm = statistics.of(background_quantile, label=0)
    peaks = statistics.of(peak_quantile, label=1)
    if not (calm.size and peaks.size):
        raise ValueError(
            "calibration needs training frames of both labels, "
            f"got {peaks.size} with smoke and {calm.size} without"
        )
    offset, strong = float(np.median(calm)), float(np.quantile(peaks, 1 - strong_share))
    if strong <= offset:
        log.debug("raw maps of smoke (%g) do not rise above those without (%g)", strong, offset)
        offset = 0.0
    scale = strong - offset
    slope, bias = _fit_logits(statistics)
    return Calibration(offset, scale if scale > 0 else 1.0, slope, bias)


def _fit_logits(statistics: CalibrationStatistics) -> tuple[float, float]:
    logits, labels = np.array(statistics.logits), np.array(statistics.labels)
    splits = np.array(statistics.splits)
    enough = all(((splits == VAL) & (labels == label)).sum() >= _ENOUGH for label in (0, 1))
    chosen = splits == (VAL if enough else TRAIN)
    return fit_platt(logits[chosen], labels[chosen])
