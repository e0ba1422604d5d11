"""Draw what was found over the frames of a video, and write them as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from weakseg.arrays import FrameArray, Mask
from weakseg.artifacts import read_scores
from weakseg.data.video import VideoFrame, write_video
from weakseg.labels import SMOKE
from weakseg.report import overlay
from weakseg.stages.prediction.alarms import State
from weakseg.stages.prediction.video_record import mask_path
from weakseg.training import Interrupted, StopFlag

OVERLAY: Final = "overlay.mp4"
_WHITE, _BLACK, _RED = (255, 255, 255), (0, 0, 0), (220, 30, 30)
_ALARMED: Final = {State.ALARM, State.FALLING}


def write_overlays(
    folder: Path,
    frames: Iterator[VideoFrame],
    rows: Mapping[int, Mapping[str, Any]],
    stop: StopFlag,
) -> None:
    """Write `overlay.mp4` of the frames that have a row, from the masks in the folder.

    Raises:
        Interrupted: If somebody asks to stop; the video is then made by the next command.
    """

    def drawn() -> Iterator[VideoFrame]:
        for frame in frames:
            if stop.is_set:
                raise Interrupted(f"stopped by {stop.reason} while {folder / OVERLAY} was written")
            row = rows.get(frame.index)
            if row is not None:
                mask = read_scores(mask_path(folder, frame.index)) > 0
                ids = np.where(mask, SMOKE, 0).astype(np.uint8)
                yield VideoFrame(frame.index, frame.seconds, draw(frame.pixels, ids, row))

    write_video(folder / OVERLAY, drawn())


def draw(pixels: FrameArray, mask: Mask, row: Mapping[str, Any]) -> FrameArray:
    """Lay a mask over a frame, with its time and share of smoke, and a red edge in an alarm.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8 class ids.
        row: What was found in the frame.

    Returns:
        (H, W, 3) uint8.
    """
    picture = np.ascontiguousarray(overlay(pixels, mask))
    height, width = picture.shape[:2]
    size = max(0.4, height / 800)
    thick = max(1, round(1.6 * size))
    is_alarm = row["alarm"] in _ALARMED
    text = f"{row['seconds']:.1f} s  smoke {100 * row['smoke_share']:.2f} %"
    text += "  ALARM" if is_alarm else ""
    # On a patch, not outlined: a thicker line makes some versions' letters wider.
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
    margin = round(8 * size)
    corner = (wide + 2 * margin, high + below + 2 * margin)
    cv2.rectangle(picture, (0, 0), corner, _BLACK, cv2.FILLED)
    place = (margin, margin + high)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _WHITE, thick, cv2.LINE_AA)
    if is_alarm:
        edge = max(2, round(5 * size))
        cv2.rectangle(picture, (0, 0), (width - 1, height - 1), _RED, 2 * edge)
    return picture
