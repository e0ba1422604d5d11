"""Read live camera streams: as they come, the newest frame first, through interruptions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from weakseg.data.containers import Upright, av_module, open_video, shown
from weakseg.data.video_frames import FrameChoice, VideoFrame
from weakseg.errors import DataError

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_WAKE_SECONDS: Final = 0.2


def read_stream(
    url: str,
    container: Any,
    choice: FrameChoice,
    *,
    max_pixels: int,
    timeout_seconds: float,
    patience_seconds: float,
    is_stopped: Callable[[], bool],
) -> Iterator[VideoFrame]:
    """Yield the frames of a live stream as they arrive; see `weakseg.data.video.read_video`.

    A thread decodes without waiting for the caller, since a server that is not listened to breaks
    the connection off, and keeps the newest wanted frame. Times are those of arrival: cameras
    start theirs anew at each connection, and motion JPEG has none.

    Args:
        url: Where to connect again.
        container: The first connection, open; it is closed here.
        choice: Which frames are wanted.
        max_pixels: Refuse larger frames.
        timeout_seconds: Longest wait for the server.
        patience_seconds: Give up after so long without a frame.
        is_stopped: Whether to end.

    Raises:
        DataError: If the stream is given up.
    """
    camera = _Camera(
        url,
        choice,
        max_pixels=max_pixels,
        timeout_seconds=timeout_seconds,
        patience_seconds=patience_seconds,
    )
    thread = threading.Thread(target=camera.run, args=(container,), daemon=True)
    thread.start()
    try:
        while not is_stopped():
            frame = camera.take(_WAKE_SECONDS)
            if frame is not None:
                yield frame
            elif camera.failure is not None:
                raise camera.failure
    finally:
        camera.close()
        thread.join(timeout=timeout_seconds)


class _Camera:
    """The side of a stream that listens; `take` is called from another thread than `run`."""

    def __init__(
        self,
        url: str,
        choice: FrameChoice,
        *,
        max_pixels: int,
        timeout_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._url, self._name = url, shown(url)
        self._is_wanted = choice.chooser()
        self._upright = Upright(self._name, max_pixels=max_pixels)
        self._timeout, self._patience = timeout_seconds, patience_seconds
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._newest: VideoFrame | None = None
        self._index = -1
        self._start: float | None = None
        self._heard = time.monotonic()
        self.failure: DataError | None = None

    def take(self, seconds: float) -> VideoFrame | None:
        """Wait at most `seconds` for a frame, and take it away."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self.failure, timeout=seconds)
            frame, self._newest = self._newest, None
        return frame

    def close(self) -> None:
        """Ask `run` to end."""
        self._closed.set()

    def run(self, container: Any) -> None:
        """Listen, and connect again, until closed or out of patience."""
        try:
            self._listen(container)
            pause = _FIRST_PAUSE_SECONDS
            while not self._closed.wait(pause):
                self._check_patience()
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS, max(self._patience / 4, 0.05))
                before = self._index
                try:
                    self._listen(open_video(self._url, timeout_seconds=self._timeout))
                except DataError as error:
                    log.debug("%s", error)
                if self._index > before:
                    pause = _FIRST_PAUSE_SECONDS
        except DataError as error:
            self._give_up(error)
        except Exception as error:
            # Whatever ends this thread is told to the one that waits for frames.
            kind = type(error).__name__
            told = DataError(
                f"{self._name} sent what cannot be read ({kind}: {error}): start again"
            )
            told.__cause__ = error
            self._give_up(told)

    def _give_up(self, error: DataError) -> None:
        with self._changed:
            self.failure = error
            self._changed.notify()

    def _listen(self, container: Any) -> None:
        """Decode up to the end of a connection."""
        av = av_module()
        reason = "it ended"
        # By frames, threads would hold some back.
        container.streams.video[0].thread_type = "SLICE"
        with container:
            packets = container.demux(container.streams.video[0])
            while not self._closed.is_set():
                try:
                    packet = next(packets, None)
                except (av.FFmpegError, OSError) as error:
                    reason = getattr(error, "strerror", None) or "no answer"
                    break
                if packet is None:
                    break
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    self._hear(frame)
        if not self._closed.is_set():
            log.warning("%s broke off (%s): connecting again", self._name, reason)

    def _hear(self, frame: Any) -> None:
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        self._heard = now
        self._index += 1
        seconds = now - self._start
        if frame.is_corrupt or not self._is_wanted(self._index, seconds):
            return
        pixels = self._upright(frame)
        with self._changed:
            self._newest = VideoFrame(self._index, seconds, pixels)
            self._changed.notify()

    def _check_patience(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > self._patience:
            raise DataError(
                f"{self._name} has sent no picture for {silent:.0f} s: is the camera on? "
                "patience_seconds sets how long to try"
            )
