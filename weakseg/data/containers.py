"""Open video files and streams, read their headers, and turn their pictures upright."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from weakseg.arrays import FrameArray
from weakseg.errors import DataError, MissingExtraError

VIDEO_SUFFIXES: Final = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
URL_SCHEMES: Final = frozenset(("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp"))


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says, 0 where it says nothing.

    Args:
        width: Stored columns, before the rotation.
        height: Stored rows, before the rotation.
        seconds: Length.
        frames: Number of frames, an estimate where the header only has length and rate.
        rate: Frames a second on average.
    """

    width: int
    height: int
    seconds: float
    frames: int
    rate: float


def video_facts(source: Path | str) -> VideoFacts:
    """Read a video's header without decoding frames.

    Raises:
        DataError: If it is no video.
    """
    with open_video(source) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 0)
        seconds = stated_seconds(container) or (container.duration or 0) / 1e6
        frames = stream.frames or round(rate * seconds)
        return VideoFacts(stream.width, stream.height, seconds, frames, rate)


def videos_in(folder: Path) -> list[Path]:
    """List the videos under a folder by name, leaving hidden files alone."""
    return sorted(path for path in folder.rglob("*") if is_video(path) and path.is_file())


def is_video(path: Path) -> bool:
    """Say whether a file's name is a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def is_url(source: Path | str) -> bool:
    """Say whether a source is a URL that can be streamed from."""
    scheme, separator, _ = str(source).partition("://")
    return bool(separator) and scheme.lower() in URL_SCHEMES


def shown(source: Path | str) -> str:
    """Name a source for people: of a URL without its user, password and query."""
    if not is_url(source):
        return str(source)
    parts = urlsplit(str(source))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def open_video(source: Path | str, *, timeout_seconds: float = 20.0) -> Any:
    """Open a video for reading; the caller closes the container.

    Raises:
        DataError: If the file is missing, is no video or has no frames, or the server does not
            answer.
        MissingExtraError: If PyAV is not installed.
    """
    av, name = av_module(), shown(source)
    options = {"rtsp_transport": "tcp"} if name.startswith("rtsp") else {}
    if not is_url(source):
        if not Path(source).is_file():
            raise DataError(f"{name} is not a file: correct the path, or give a URL as rtsp://...")
        # What calls itself a video may be a play list that points into the network.
        options = {"protocol_whitelist": "file,crypto,data"}
    try:
        container = av.open(str(source), options=options, timeout=timeout_seconds)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be opened"
        way_out = "is its address right and the camera on?" if is_url(source) else "copy it again"
        raise DataError(f"{name} is no readable video ({reason}): {way_out}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{name} has no pictures, only sound or data: give a video")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container


def av_module() -> Any:
    """Import PyAV.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise MissingExtraError("videos and streams need `pip install weakseg[video]`") from error


class Upright:
    """Give the frames of one source rotated and mirrored as its first frame asks.

    Looking at a frame's side data ties it into a cycle of references, so that its memory waits for
    the garbage collector. It is looked at once, therefore, and not in every frame.

    Args:
        name: Of the source, for what is said of it.
        max_pixels: Refuse larger frames.
    """

    def __init__(self, name: str, *, max_pixels: int) -> None:
        self._name, self._max_pixels = name, max_pixels
        self._matrix: tuple[int, int, int, int] | None = None

    def __call__(self, frame: Any) -> FrameArray:
        """Give a decoded frame as (H, W, 3) uint8 RGB.

        Raises:
            DataError: If it has too many pixels.
        """
        if frame.width * frame.height > self._max_pixels:
            raise DataError(
                f"{self._name} has frames of {frame.width}x{frame.height} pixels, above the limit "
                f"of {self._max_pixels}: raise max_pixels if it is to be trusted"
            )
        if self._matrix is None:
            self._matrix = _display_matrix(frame)
        return np.ascontiguousarray(_turned(frame.to_ndarray(format="rgb24"), self._matrix))


def stated_seconds(container: Any) -> float:
    """Give how long the pictures last by the header; 0 where it does not tell them from sound."""
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    hours, minutes, seconds = 0.0, 0.0, 0.0
    stated = stream.metadata.get("DURATION", "").split(":")
    if len(stated) == 3:
        hours, minutes, seconds = (float(part) for part in stated)
    elif len(container.streams) == 1:
        seconds = (container.duration or 0) / 1e6
    return 3600 * hours + 60 * minutes + seconds


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """Give a, b, c, d of x' = a x + c y, y' = b x + d y, by which pixels are to be moved."""
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(found), dtype=np.int32).reshape(3, 3)
    (a, b), (c, d) = matrix[:2, :2].tolist()
    return a, b, c, d


def _turned(pixels: FrameArray, matrix: tuple[int, int, int, int]) -> FrameArray:
    a, b, c, d = matrix
    is_swapped = abs(b) > abs(a)
    if is_swapped:
        pixels = pixels.transpose(1, 0, 2)
    row_sign, column_sign = (b, c) if is_swapped else (d, a)
    return pixels[:: -1 if row_sign < 0 else 1, :: -1 if column_sign < 0 else 1]
