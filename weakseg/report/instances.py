"""Draw instances over a frame: a box, a mask and a score for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from weakseg.arrays import FrameArray
from weakseg.checks import check_in_unit, check_shape
from weakseg.report.pictures import Colour

# After the palette of Okabe and Ito, lightened for dark frames: neighbours are told apart.
COLOURS: Final[Sequence[Colour]] = (
    (222, 45, 145),
    (0, 178, 130),
    (86, 180, 233),
    (230, 159, 0),
    (240, 228, 66),
    (0, 114, 218),
    (230, 75, 0),
)
_INK: Final[Colour] = (20, 20, 20)
_THIN: Final = 400
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_PAD: Final = 2


def draw_instances(
    frame: FrameArray,
    *,
    boxes: npt.NDArray[Any],
    masks: npt.NDArray[np.bool_],
    scores: Sequence[float] | None = None,
    opacity: float = 0.4,
) -> FrameArray:
    """Draw each instance in a colour of its own: its mask tinted and outlined, its box, its score.

    The first instance is drawn last, so that the surest lies on top.

    Args:
        frame: (H, W, 3) uint8, RGB.
        boxes: (N, 4) x1, y1, x2, y2 in pixels; the right and lower sides lie behind the last pixel.
        masks: (N, H, W) bool.
        scores: N scores in [0, 1]; None writes none.
        opacity: Of the tint, in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the numbers or sizes of frame, boxes, masks and scores do not agree.
    """
    check_shape((None, None, 3), frame=frame)
    check_shape((None, 4), boxes=boxes)
    check_shape((len(boxes), *frame.shape[:2]), masks=masks)
    check_in_unit(opacity=opacity)
    if scores is not None and len(scores) != len(boxes):
        raise ValueError(f"scores must be one for each of {len(boxes)} boxes, got {len(scores)}")
    drawn = frame.copy()
    line = max(1, round(max(frame.shape[:2]) / _THIN))
    order = range(len(boxes) - 1, -1, -1)
    for index in order:
        colour = COLOURS[index % len(COLOURS)]
        inside = masks[index].astype(np.uint8)
        mixed = drawn[masks[index]] * (1 - opacity) + np.array(colour) * opacity
        drawn[masks[index]] = np.rint(mixed).astype(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour, line)
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[index])
        cv2.rectangle(drawn, (x1, y1), (x2 - 1, y2 - 1), colour, line)
    if scores is not None:
        for index in order:
            _write(drawn, f"{scores[index]:.2f}", boxes[index], COLOURS[index % len(COLOURS)])
    return drawn


def _write(drawn: FrameArray, text: str, box: npt.NDArray[Any], colour: Colour) -> None:
    """Write on a patch of the box's colour, above the box or, where that is outside, within it."""
    height, width = drawn.shape[:2]
    size = max(0.35, max(height, width) / _THIN * 0.35)
    weight = max(1, round(size * 1.5))
    (wide, high), below = cv2.getTextSize(text, _FONT, size, weight)
    left = min(max(0, round(float(box[0]))), max(0, width - wide - 2 * _PAD))
    bottom = round(float(box[1]))
    if bottom - high - below - 2 * _PAD < 0:
        bottom = min(height, round(float(box[1])) + high + below + 2 * _PAD)
    top = bottom - high - below - 2 * _PAD
    cv2.rectangle(drawn, (left, top), (left + wide + 2 * _PAD, bottom), colour, -1)
    place = (left + _PAD, bottom - below - _PAD)
    cv2.putText(drawn, text, place, _FONT, size, _INK, weight, cv2.LINE_AA)
