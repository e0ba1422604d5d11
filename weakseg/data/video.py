"""Read the frames of videos and camera streams one at a time, upright and with their times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from weakseg.checks import check_at_least, check_positive
from weakseg.data.containers import (
    Upright,
    av_module,
    is_url,
    open_video,
    shown,
    stated_seconds,
)
from weakseg.data.reading import MAX_PIXELS
from weakseg.data.streams import read_stream
from weakseg.data.video_frames import FrameChoice, VideoFrame
from weakseg.data.video_writing import VideoWriter, write_video
from weakseg.errors import DataError

__all__ = ["FrameChoice", "VideoFrame", "VideoWriter", "read_video", "write_video"]

log = logging.getLogger(__name__)

_MISSING_SECONDS: Final = 0.5
"""A file that ends so much before the length it states is truncated."""


def read_video(
    source: Path | str,
    *,
    every_seconds: float | None = None,
    frame_step: int = 1,
    first: int = 0,
    max_pixels: int = MAX_PIXELS,
    timeout_seconds: float = 20.0,
    patience_seconds: float = 600.0,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[VideoFrame]:
    """Yield the frames of a video file, or of a stream by its URL, one at a time.

    Only one frame is held. The rotation and mirroring that phones note in the file are applied,
    times are the file's own (its rate may vary), frames that the decoder marks as damaged are left
    out. A live stream is decoded as it comes, and of frames that arrive while the caller works only
    the newest is kept; it is connected to again when it breaks off. A URL of a recording, with a
    length, is read like a file.

    Args:
        source: A file, or a URL such as `rtsp://camera/live` or `http://camera/video.mjpg`.
        every_seconds: See `FrameChoice`.
        frame_step: See `FrameChoice`.
        first: See `FrameChoice`.
        max_pixels: Refuse videos with larger frames.
        timeout_seconds: Longest wait for a server's answer or next frame, > 0.
        patience_seconds: Give a live stream up after so long without a frame, >= 0.
        is_stopped: Asked between the frames of a stream, also while none comes: whether to end.

    Raises:
        DataError: At once if there is no such video; after the last readable frame if the file is
            truncated, or frames of it were damaged.
        MissingExtraError: If PyAV is not installed.
    """
    choice = FrameChoice(every_seconds, frame_step, first)
    check_at_least(1, max_pixels=max_pixels)
    check_positive(timeout_seconds=timeout_seconds)
    check_at_least(0, patience_seconds=patience_seconds)
    container = open_video(source, timeout_seconds=timeout_seconds)
    if not is_url(source) or container.duration is not None:
        return _read_recording(container, source, choice, max_pixels=max_pixels)
    return read_stream(
        str(source),
        container,
        choice,
        max_pixels=max_pixels,
        timeout_seconds=timeout_seconds,
        patience_seconds=patience_seconds,
        is_stopped=is_stopped,
    )


def _read_recording(
    container: Any, source: Path | str, choice: FrameChoice, *, max_pixels: int
) -> Iterator[VideoFrame]:
    """Yield the wanted frames up to the end, then say what could not be read."""
    name, is_wanted = shown(source), choice.chooser()
    upright = Upright(name, max_pixels=max_pixels)
    clock, index, damage = _Clock(container), -1, _Damage(name)
    with container:
        for index, frame in enumerate(_decoded(container, damage)):
            seconds = clock.read(frame)
            if frame.is_corrupt:
                damage.note(seconds)
            elif is_wanted(index, seconds):
                yield VideoFrame(index, seconds, upright(frame))
        end, stated = clock.end, stated_seconds(container)
    if index < 0:
        raise DataError(f"{name} has no frame that can be read: copy it again")
    if stated - end > max(_MISSING_SECONDS, 3 * clock.longest):
        raise DataError(
            f"{name} is truncated: it says {stated:.1f} s and ends after {end:.1f} s: copy it "
            "again; what is there was read"
        )
    damage.complain()


def _decoded(container: Any, damage: _Damage) -> Iterator[Any]:
    """Yield the frames that the decoder can make of a container, damaged ones too."""
    av = av_module()
    packets = container.demux(container.streams.video[0])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damage.note_end(error)
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            damage.note(None if packet.pts is None else float(packet.pts * packet.time_base))


class _Clock:
    """Times of frames in turn, from the first on; frames without one follow at the usual rate."""

    def __init__(self, container: Any) -> None:
        rate = container.streams.video[0].average_rate
        self._usual = 1 / float(rate) if rate else 0.04
        self._start: float | None = None
        self._last = 0.0
        self._shown_for = self._usual
        self.longest = self._usual

    @property
    def end(self) -> float:
        """When the last frame is over."""
        return 0.0 if self._start is None else self._last + self._shown_for

    def read(self, frame: Any) -> float:
        """Give the seconds of the next frame."""
        if self._start is None:
            self._start = float(frame.time or 0.0)
            seconds = 0.0
        elif frame.time is None:
            seconds = self._last + self._usual
        else:
            seconds = max(self._last, float(frame.time) - self._start)
        self.longest = max(self.longest, seconds - self._last)
        self._last = seconds
        length = frame.duration * frame.time_base if frame.duration and frame.time_base else None
        self._shown_for = self._usual if length is None else float(length)
        return seconds


class _Damage:
    """What could not be read of a video: told as it is met, summed up at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0
        self._first = ""

    def note(self, seconds: float | None) -> None:
        """Take note of a damaged frame."""
        place = "at an unknown time" if seconds is None else f"at {seconds:.2f} s"
        log.debug("%s: a frame %s is damaged and left out", self._name, place)
        self._first = self._first or place
        self._count += 1

    def note_end(self, error: Exception) -> None:
        """Take note that nothing more can be read."""
        self._first = self._first or f"where it breaks off ({getattr(error, 'strerror', error)})"
        self._count += 1

    def complain(self) -> None:
        """Raise what was noted, if anything was."""
        if self._count:
            raise DataError(
                f"{self._name} is damaged in {self._count} places, the first {self._first}: copy "
                "it again; the other frames were read"
            )
