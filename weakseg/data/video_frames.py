"""Say what a frame of a video is, and which frames of one are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from weakseg.arrays import FrameArray
from weakseg.checks import check_at_least, check_positive


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video.

    Args:
        index: Its number among all frames that were decoded, from 0.
        seconds: When it is shown, from the first frame on, >= 0 and never falling. Of a live
            stream: when it arrived.
        pixels: (H, W, 3) uint8, RGB, upright.
    """

    index: int
    seconds: float
    pixels: FrameArray


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a video are wanted.

    Args:
        every_seconds: The first frame at or after each multiple of so many seconds, > 0; None
            wants every frame.
        frame_step: Every so many frames, at least 1; not together with `every_seconds`.
        first: No frame before this index, at least 0. It changes nothing about the others.
    """

    every_seconds: float | None = None
    frame_step: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_at_least(1, frame_step=self.frame_step)
        check_at_least(0, first=self.first)
        if self.every_seconds is not None:
            check_positive(every_seconds=self.every_seconds)
            if self.frame_step != 1:
                raise ValueError("give every_seconds or frame_step, not both")

    def chooser(self) -> Callable[[int, float], bool]:
        """Give a question to ask for each frame in turn: is (index, seconds) wanted?"""
        due = 0.0

        def is_wanted(index: int, seconds: float) -> bool:
            nonlocal due
            if self.every_seconds is None:
                return index % self.frame_step == 0 and index >= self.first
            # Half a millisecond for time stamps that containers have rounded.
            if seconds + 5e-4 < due:
                return False
            due = (math.floor((seconds + 5e-4) / self.every_seconds) + 1) * self.every_seconds
            return index >= self.first

        return is_wanted
