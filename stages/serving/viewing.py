"""What the app shows: a frame's mask, evidence and figures, and a video's smoke over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weakseg.arrays import FrameArray, Mask
from weakseg.data.reading import MAX_PIXELS
from weakseg.data.video import read_video
from weakseg.labels import SMOKE
from weakseg.report import heatmap, overlay
from weakseg.stages.predictor import Prediction, Predictor

ADD, TAKE_AWAY = "rgba(216, 27, 96, 0.6)", "rgba(30, 136, 229, 0.6)"
"""The brushes that correct a mask: smoke that is missing, smoke that is none."""

_PAINTED = 64


@dataclass(frozen=True)
class Moment:
    """A frame of a video, segmented.

    Args:
        seconds: Since the video's start.
        share: Of the frame that is smoke, in [0, 1].
        probability: That it shows smoke, in [0, 1].
        picture: (H, W, 3) uint8: the frame with its mask.
    """

    seconds: float
    share: float
    probability: float
    picture: FrameArray


def pictures_of(frame: FrameArray, prediction: Prediction) -> tuple[FrameArray, FrameArray]:
    """Give the frame with its mask, and the scores as colours; both (H, W, 3) uint8."""
    return overlay(frame, prediction.mask), heatmap(prediction.scores)


def words_of(name: str, prediction: Prediction) -> str:
    """Say the figures of a frame in one line of Markdown."""
    return (
        f"**{name}** · probability of smoke {prediction.probability:.2f} · smoke on "
        f"{prediction.share:.2%} of the frame at threshold {prediction.threshold:.2f}"
    )


def watch(
    predictor: Predictor,
    video: Path | str,
    *,
    frames_per_second: float,
    max_seconds: float,
    max_pixels: int = MAX_PIXELS,
    threshold: float | None = None,
    on_progress: Callable[[float], None] = lambda seconds: None,
) -> Iterator[Moment]:
    """Segment frames of a video, evenly in time, until `max_seconds`.

    Raises:
        DataError: If the video cannot be read, is truncated, or has frames of too many pixels.
    """
    frames = read_video(video, every_seconds=1 / frames_per_second, max_pixels=max_pixels)
    for frame in frames:
        if frame.seconds > max_seconds:
            return
        predictor.check_size(frame.pixels, name=Path(video).name, max_pixels=max_pixels)
        found = predictor(frame.pixels, threshold=threshold)
        on_progress(frame.seconds)
        picture = overlay(frame.pixels, found.mask)
        yield Moment(frame.seconds, found.share, found.probability, picture)


def repainted(mask: Mask, layers: list[FrameArray]) -> Mask:
    """Correct a mask by what was painted over it, in two colours.

    Args:
        mask: (H, W) uint8 of 0 and 1.
        layers: Each (h, w, 4) uint8, RGBA, from the lowest up: where it is painted, smoke is added
            if there is more red than blue, and taken away if not. Another size is brought to the
            mask's.

    Returns:
        (H, W) uint8 of 0 and 1.
    """
    height, width = mask.shape
    corrected = mask == SMOKE
    for layer in layers:
        rows = ((np.arange(height) + 0.5) * layer.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * layer.shape[1] / width).astype(int)
        fitted = layer[rows[:, None], columns]
        painted = fitted[..., 3] >= _PAINTED
        adds = fitted[..., 0] > fitted[..., 2]
        corrected = (corrected | (painted & adds)) & ~(painted & ~adds)
    return np.where(corrected, SMOKE, 0).astype(np.uint8)
