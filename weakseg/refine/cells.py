"""Bring frames and scores to the cells of a network's grid, and back to the pixels."""

from __future__ import annotations

import cv2
import numpy as np

from weakseg.arrays import FrameArray, ScoreMap


def shrink_within(frame: FrameArray, side: int | None) -> FrameArray:
    """Shrink a frame (H, W, 3) whose longer side is above `side` pixels; None lets all be."""
    height, width = frame.shape[:2]
    if side is None or max(height, width) <= side:
        return frame
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def resize_scores(scores: ScoreMap, height: int, width: int) -> ScoreMap:
    """Resize scores to (height, width), by averaging where they shrink; their range is kept."""
    way = cv2.INTER_AREA if height < scores.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(scores, (width, height), interpolation=way), np.float32)


def to_cells(scores: ScoreMap, height: int, width: int, stride: int) -> ScoreMap:
    """Average scores over the cells of a frame that is looked at as height x width.

    Args:
        scores: (H, W) float32.
        height: Pixels looked at, as `shrink_within` leaves them.
        width: The same.
        stride: Side of a cell in pixels.

    Returns:
        (ceil(height / stride), ceil(width / stride)) float32. Cells that reach over the border
        repeat the last row and column.
    """
    small = scores if scores.shape == (height, width) else resize_scores(scores, height, width)
    padded = np.pad(small, ((0, -height % stride), (0, -width % stride)), mode="edge")
    h, w = (side // stride for side in padded.shape)
    cells: ScoreMap = padded.reshape(h, stride, w, stride).mean(axis=(1, 3), dtype=np.float32)
    return cells


def to_pixels(cells: ScoreMap, height: int, width: int, stride: int) -> ScoreMap:
    """Bring cells (h, w) back to the height x width pixels they stand for, bilinearly."""
    h, w = cells.shape
    return resize_scores(cells, h * stride, w * stride)[:height, :width]
