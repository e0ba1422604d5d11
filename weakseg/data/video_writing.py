"""Write frames as a video that browsers and phones play."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np

from weakseg.arrays import FrameArray
from weakseg.artifacts.atomic import atomic_path, disk_errors
from weakseg.checks import check_at_least, check_shape
from weakseg.data.containers import av_module
from weakseg.data.video_frames import VideoFrame
from weakseg.errors import ArtifactError

_TICKS: Final = 60_000
"""A second in time stamps: of the usual rates, 29.97 too, a frame is a whole number of them."""
_LIVE_GROUP: Final = 30
_CODECS: Final = ("libx264", "mpeg4")


class VideoWriter:
    """Take frames one at a time, and write an MP4 of them; none is kept.

    Frames are shown at their own times, so a varying rate stays as it is. The first frame sets the
    size; others are resized to it.

    Args:
        path: Ends in `.mp4`; written as it goes.
        quality: Constant rate factor of H.264, 0-51; less is better and larger.
        is_live: Write so that what is there can be played at any time, even if never closed.

    Raises:
        MissingExtraError: If PyAV is not installed.
    """

    def __init__(self, path: Path | str, *, quality: int = 23, is_live: bool = False) -> None:
        """Remember where to write; the file is made with the first frame."""
        check_at_least(0, quality=quality)
        self._av = av_module()
        self._path = Path(path)
        self._quality = quality
        self._is_live = is_live
        self._flags = "frag_keyframe+empty_moov+default_base_moof" if is_live else "faststart"
        self._container: Any = None
        self._stream: Any = None
        self._last_tick = -1

    def __enter__(self) -> VideoWriter:
        """Use as a context manager: it is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def write(self, pixels: FrameArray, seconds: float) -> None:
        """Add a frame.

        Args:
            pixels: (H, W, 3) uint8, RGB; an odd row or column at the end is doubled.
            seconds: When it is shown, >= 0; moved on a little if it is not after the last one.
        """
        check_shape((None, None, 3), pixels=pixels)
        with _writing(self._av, self._path):
            if self._container is None:
                self._start(pixels)
            size = (self._stream.width, self._stream.height)
            picture = self._av.VideoFrame.from_ndarray(_fitted(pixels, size), format="rgb24")
            self._last_tick = max(round(seconds * _TICKS), self._last_tick + 1)
            picture.pts, picture.time_base = self._last_tick, Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(picture))

    def close(self) -> None:
        """Write what the encoder still holds, and end the file."""
        container, self._container = self._container, None
        if container is not None:
            with _writing(self._av, self._path):
                container.mux(self._stream.encode())
                container.close()

    def _start(self, pixels: FrameArray) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": self._flags, "flush_packets": str(int(self._is_live))}
        self._container = self._av.open(str(self._path), "w", format="mp4", options=options)
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        self._stream = self._container.add_stream(codec, rate=25)
        height, width = pixels.shape[:2]
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if self._is_live:
            # What can be played reaches to the last whole group of frames.
            self._stream.codec_context.gop_size = _LIVE_GROUP
        self._stream.options = {"crf": str(self._quality), "preset": "veryfast"}


def write_video(path: Path | str, frames: Iterable[VideoFrame], *, quality: int = 23) -> int:
    """Write frames as an MP4, whole or not at all; give how many there were.

    Args:
        path: Ends in `.mp4`.
        frames: In the order of their times; only one is held at a time.
        quality: See `VideoWriter`.

    Raises:
        ArtifactError: If the disk refuses.
        MissingExtraError: If PyAV is not installed.
        ValueError: If there are no frames.
    """
    count = 0
    with atomic_path(path) as temporary:
        with VideoWriter(temporary, quality=quality) as writer:
            for frame in frames:
                writer.write(frame.pixels, frame.seconds)
                count += 1
        if count == 0:
            raise ValueError(f"{path} would have no frames: give at least one")
    return count


def _fitted(pixels: FrameArray, size: tuple[int, int]) -> FrameArray:
    """Give pixels of (width, height) `size`: padded by their last row and column, or resized."""
    width, height = size
    down, right = height - pixels.shape[0], width - pixels.shape[1]
    if down in (0, 1) and right in (0, 1):
        return np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="edge")
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@contextmanager
def _writing(av: Any, path: Path) -> Iterator[None]:
    """Turn what the disk or the encoder refuses into an ArtifactError that names the file."""
    with disk_errors(path):
        try:
            yield
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise ArtifactError(
                f"cannot write {path}: the encoder says {error.strerror}"
            ) from error
